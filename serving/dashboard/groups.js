// Groups of VENs: made, changed, deleted.

import { patch, post, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { readGroups } from "./group-names.js";
import { byId, count, element, showTable } from "./page.js";
import { Panel } from "./panels.js";
import { isShown, linkTo } from "./route.js";

export class Groups {
  constructor() {
    this.panel = new Panel(byId("groups"), 10);
    byId("group-new").addEventListener("click", () => this.add());
  }

  refresh() {
    if (!isShown("groups")) return null;
    return this.panel.ask(async () => {
      const groups = await readGroups();
      showTable(byId("groups-table"), this.columns(), groups, "Groups", "There is no group yet.");
    });
  }

  columns() {
    const words = (key) => (group) => group[key].join(", ") || "–";
    return [
      { title: "Group", cell: (group) => element("a", { href: linkTo("vens", null, { group: group.id }) }, group.name) },
      { title: "Id", cell: (group) => group.id },
      { title: "VENs named", cell: (group) => count(group.venIds.length), isNumber: true },
      { title: "Load types", cell: words("loadTypes") },
      { title: "Regions", cell: words("regions") },
      { title: "Tags", cell: words("tags") },
      { title: "Actions", cell: (group) => this.actions(group) },
    ];
  }

  actions(group) {
    const button = (text, does) => element("button", { type: "button", class: "link", "aria-label": `${text} ${group.name}`, onclick: () => does.call(this, group) }, text);
    return element("span", { class: "links" }, button("Edit", this.edit), button("Delete", this.remove));
  }

  add() {
    return this.question({ title: "New group", action: "Make group", fields: [...fields(), { name: "id", label: "Id", hint: "empty: one is made up" }], does: (values) => post("/api/groups", values) });
  }

  edit(group) {
    return this.question({ title: `Edit ${group.name}`, action: "Save", fields: fields(group), does: (values) => patch(path(group), values) });
  }

  remove(group) {
    const text = "Its VENs stay. A group at which an event aims that is not over cannot be deleted.";
    return this.question({ title: `Delete ${group.name}?`, body: [element("p", {}, text)], action: "Delete", isDanger: true, does: () => remove(path(group)) });
  }

  async question(question) {
    await ask(question);
    await this.refresh();
  }
}

const path = (group) => `/api/groups/${encodeURIComponent(group.id)}`;

function fields(group = {}) {
  const words = (name, label, hint) => ({ name, label, hint, kind: "words", value: group[name] });
  return [
    { name: "name", label: "Name", isRequired: true, value: group.name },
    words("venIds", "VENs by id", "separated by commas"),
    words("loadTypes", "Load types", "a member has a load of any of these"),
    words("regions", "Regions", "a member lies in any of these"),
    words("tags", "Tags", "a member bears each of these"),
  ];
}
