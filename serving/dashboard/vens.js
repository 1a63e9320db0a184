// The list of VENs: filtered and sorted here, shown page by page, with actions on those that are chosen.

import { get } from "./api.js";
import { BulkActions } from "./bulk.js";
import { readGroups } from "./group-names.js";
import { attempt } from "./live.js";
import { ago, byId, count, element, MEASURED, number, REPORTED, statusMark, time, withSource } from "./page.js";
import { PagedTable } from "./paged-table.js";
import { Panel } from "./panels.js";
import { showPlaces } from "./places.js";
import { isShown, linkTo, route, setParams } from "./route.js";
import { VensImport } from "./vens-import.js";

const STATUSES_AFTER_MS = 1000;
const FILTERS = ["words", "status", "group", "type"];

export class Vens {
  constructor() {
    this.all = [];
    this.byId = new Map();
    this.found = [];
    this.chosen = new Set();
    this.panel = new Panel(byId("vens"), 10);
    this.form = byId("vens-filter");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => this.filter(event.target));
    this.table = new PagedTable(byId("vens-table"), {
      name: "vens", caption: "VENs", columns: [this.choiceColumn(), ...COLUMNS], keyOf: (ven) => ven.id, sort: { key: "id", sign: 1 }, empty: "No VEN is like that.",
    });
    this.bulk = new BulkActions(this);
    this.import = new VensImport(() => this.refresh());
    byId("vens-choose-all").addEventListener("click", () => this.choose(this.found.map((ven) => ven.id)));
    byId("vens-choose-none").addEventListener("click", () => this.choose([]));
  }

  choiceColumn() {
    const node = (ven, text) => element("input", { type: "checkbox", "aria-label": `Choose ${ven.id}`, checked: text === "chosen", onchange: (changed) => this.toggle(ven.id, changed.target.checked) });
    return { key: "choice", title: "Chosen", isUnsorted: true, isHidden: true, text: (ven) => (this.chosen.has(ven.id) ? "chosen" : ""), node };
  }

  toggle(venId, isChosen) {
    if (isChosen) this.chosen.add(venId);
    else this.chosen.delete(venId);
    this.table.draw();
    this.bulk.draw();
  }

  choose(venIds) {
    this.chosen = new Set(venIds);
    this.table.draw();
    this.bulk.draw();
  }

  /** As the address says; it is read after the options have come, since somebody may type while they are awaited. */
  async open() {
    await this.panel.ask(() => this.offer());
    const { params } = route();
    if (!isShown("vens", null)) return null;
    for (const name of FILTERS) this.form.elements[name].value = params.get(name) ?? "";
    return this.refresh();
  }

  refresh() {
    return isShown("vens", null) ? this.panel.ask(() => this.read()) : null;
  }

  async read() {
    await this.offer();
    const { group, type } = this.form.elements;
    const asked = [group.value, type.value];
    const question = new URLSearchParams([["group", group.value], ["loadType", type.value]].filter(([, value]) => value));
    const all = await get(`/api/vens/summary${question.size ? `?${question}` : ""}`);
    if (asked.join() !== [group.value, type.value].join()) return; // another one was chosen meanwhile
    this.all = all;
    this.byId = new Map(all.map((ven) => [ven.id, ven]));
    for (const ven of this.all) ven.words = `${ven.id}\n${ven.name}\n${ven.address ?? ""}`.toLowerCase();
    this.offerStatuses();
    this.find();
  }

  /** A status transition; those of a second are drawn together, as a whole fleet may change at once. */
  showStatus(venId, status) {
    const ven = isShown("vens", null) && this.byId.get(venId);
    if (!ven || ven.status === status) return;
    ven.status = status;
    this.later ??= setTimeout(() => {
      this.later = null;
      this.offerStatuses();
      this.find();
    }, STATUSES_AFTER_MS);
  }

  /** Groups and types of load as they are now, which only the server knows. */
  async offer() {
    const [groups, types] = await Promise.all([readGroups(), get("/api/stats/loads")]);
    offerOptions(this.form.elements.group, groups.map((group) => [group.id, group.name]));
    offerOptions(this.form.elements.type, types.map(({ type }) => [type, type]));
    byId("vens-group").hidden = groups.length === 0;
    this.groups = groups;
  }

  offerStatuses() {
    const select = this.form.elements.status;
    const known = new Set([...select.options].map((option) => option.value));
    for (const status of new Set(this.all.map((ven) => ven.status))) {
      if (!known.has(status)) select.append(element("option", { value: status }, status));
    }
  }

  filter(changed) {
    setParams({ [changed.name]: changed.value });
    if (changed.name === "group" || changed.name === "type") this.refresh();
    this.find(0);
  }

  find(page) {
    const words = this.form.elements.words.value.trim().toLowerCase();
    const status = this.form.elements.status.value;
    this.found = this.all.filter((ven) => (!status || ven.status === status) && ven.words.includes(words));
    byId("vens-count").textContent = `${count(this.found.length)} of ${count(this.all.length)} VENs`;
    this.table.show(this.found, page);
    this.bulk.draw();
    attempt(() => showPlaces(this.found));
  }
}

function offerOptions(select, options) {
  const offered = JSON.stringify(options);
  if (offered === select.offered) return; // somebody may be choosing just now
  select.offered = offered;
  const chosen = options.some(([key]) => key === select.value) ? select.value : "";
  select.replaceChildren(select.options[0], ...options.map(([key, title]) => element("option", { value: key }, title)));
  select.value = chosen;
}

const COLUMNS = [
  { key: "id", title: "Id", text: (ven) => ven.id, node: (ven) => element("a", { href: linkTo("vens", ven.id) }, ven.id) },
  { key: "name", title: "Name", text: (ven) => ven.name },
  { key: "status", title: "Status", text: (ven) => ven.status, node: (ven) => statusMark(ven.status) },
  { key: "currentPower", title: withSource("Uses, kW", MEASURED), text: (ven) => (ven.isReporting === false ? "–" : number(ven.currentPower)), isNumber: true },
  { key: "controllablePower", title: withSource("Could shed, kW", REPORTED), text: (ven) => number(ven.controllablePower), isNumber: true },
  { key: "responseTime", title: "Answers in, ms", text: (ven) => (ven.hasAnswered ? count(ven.responseTime) : "–"), isNumber: true, value: (ven) => (ven.hasAnswered ? ven.responseTime : null) },
  { key: "lastSeen", title: "Last heard", text: (ven) => ago(ven.lastSeen), node: (ven, text) => time(ven.lastSeen, text), value: (ven) => ven.lastSeen && Date.parse(ven.lastSeen) },
];
