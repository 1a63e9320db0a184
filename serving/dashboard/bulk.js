// Actions on many VENs at once: each is asked for once, and carried out VEN by VEN, with what failed.

import { patch, post, Refused, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, count, element, setText } from "./page.js";

const AT_ONCE = 4;
const PAUSE_MS = 1000;
const MOST_SHOWN = 5;

const path = (venId) => `/api/vens/${encodeURIComponent(venId)}`;

export class BulkActions {
  /** @param {import("./vens.js").Vens} vens */
  constructor(vens) {
    this.vens = vens;
    const button = (text, does, kind = "quiet") => element("button", { type: "button", class: kind, onclick: does }, text);
    byId("vens-bulk").append(
      button("Add to group", () => this.addToGroup()),
      button("Opt out", () => this.optOut()),
      button("Set status", () => this.setStatus()),
      button("Set region and tags", () => this.setWords()),
      button("Retire", () => this.retire(), "danger"),
    );
  }

  draw() {
    const { size } = this.vens.chosen;
    setText(byId("vens-chosen"), `${count(size)} chosen`);
    byId("vens-bulk").hidden = size === 0;
    setText(byId("vens-choose-all"), `Choose all ${count(this.vens.found.length)} found`);
  }

  get ids() {
    return [...this.vens.chosen].sort();
  }

  which() {
    const ids = this.ids;
    const more = ids.length > MOST_SHOWN ? ` and ${count(ids.length - MOST_SHOWN)} more` : "";
    return element("p", {}, `${count(ids.length)} VENs: ${ids.slice(0, MOST_SHOWN).join(", ")}${more}.`);
  }

  addToGroup() {
    const options = [["", "a new group"], ...this.vens.groups.map((group) => [group.id, group.name])];
    return this.question("Add to a group", [
      { name: "group", label: "Group", kind: "choice", options },
      { name: "name", label: "Name of the new group" },
    ], async ({ group, name }) => {
      const known = this.vens.groups.find((each) => each.id === group);
      if (known) await patch(`/api/groups/${encodeURIComponent(group)}`, { venIds: [...new Set([...known.venIds, ...this.ids])] });
      else await post("/api/groups", { name, venIds: this.ids });
    });
  }

  optOut() {
    return this.question("Opt out of events", [
      { name: "from", label: "From", kind: "time", isRequired: true, value: new Date().toISOString() },
      { name: "to", label: "Until", kind: "time", isRequired: true },
      { name: "reason", label: "Reason" },
    ], (optOut) => this.forEach((venId) => post(`${path(venId)}/opt-outs`, optOut)));
  }

  setStatus() {
    const options = ["maintenance", "online", "offline"].map((status) => [status, status]);
    return this.question("Set the status", [{ name: "status", label: "Status", hint: "in maintenance a VEN may be silent, and events do not ask it", kind: "choice", options }],
      ({ status }) => this.forEach((venId) => patch(path(venId), { status })));
  }

  setWords() {
    return this.question("Set region and tags", [
      { name: "region", label: "Region", hint: "empty: stays" },
      { name: "tags", label: "Tags", hint: "separated by commas; empty: stay", kind: "words" },
    ], ({ region, tags }) => {
      const changes = { ...(region === null ? {} : { region }), ...(tags.length ? { tags } : {}) };
      return this.forEach((venId) => patch(path(venId), changes));
    });
  }

  retire() {
    return this.question("Retire", [], () => this.forEach((venId) => remove(path(venId))), {
      isDanger: true, body: [element("p", {}, "They leave every list and total; their history stays. To register the same id brings a VEN back.")],
    });
  }

  async question(title, fields, does, more = {}) {
    const isDone = await ask({ title: `${title}?`, fields, action: title, does, ...more, body: [this.which(), ...(more.body ?? [])] });
    if (isDone) this.vens.choose([]);
    await this.vens.refresh();
  }

  /** Does it for each chosen VEN, a few at once; those for which it failed stay chosen, and are named. */
  async forEach(does) {
    const left = this.ids;
    const total = left.length;
    const failures = [];
    const work = async () => {
      for (let venId = left.shift(); venId !== undefined; venId = left.shift()) {
        await patiently(() => does(venId)).catch((error) => failures.push([venId, error]));
        setText(byId("ask-progress"), `${count(total - left.length)} of ${count(total)}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    setText(byId("ask-progress"), "");
    if (failures.length) this.report(failures, total);
  }

  report(failures, total) {
    this.vens.choose(failures.map(([venId]) => venId));
    const named = failures.slice(0, MOST_SHOWN).map(([venId, error]) => `${venId}: ${error.message}`).join(" ");
    throw new Refused(0, `${count(total - failures.length)} of ${count(total)} are done. Not done, and still chosen: ${named}`);
  }
}

/** Whoever calls more often than a key may waits, and goes on. */
async function patiently(does) {
  for (;;) {
    try {
      return await does();
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 429) throw error;
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
  }
}
