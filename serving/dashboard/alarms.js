// Alarms: the open ones, or those of the past; acknowledged; and how their conditions stand.

import { get, getPage, post, Refused } from "./api.js";
import { byId, count, element, number, setText, showTable, time } from "./page.js";
import { Panel } from "./panels.js";
import { isShown, setParams } from "./route.js";
import { duration, exactMoment } from "./times.js";

const PER_PAGE = 100;
const LATE_AFTER_S = 60;

export class Alarms {
  constructor() {
    this.panel = new Panel(byId("alarms"), 10);
    this.conditions = new Panel(byId("conditions"), 10);
    this.form = byId("alarms-filter");
    this.next = null;
    this.alarms = [];
    this.form.addEventListener("submit", (submitted) => submitted.preventDefault());
    this.form.addEventListener("input", () => this.choose());
    byId("alarms-older").addEventListener("click", () => this.panel.ask(() => this.readOlder()));
  }

  /** @param {URLSearchParams} params of the address: which alarms */
  open(params) {
    for (const name of ["state", "kind"]) this.form.elements[name].value = params.get(name) ?? (name === "state" ? "open" : "");
    return this.showAnew();
  }

  choose() {
    const { state, kind } = this.form.elements;
    setParams({ state: state.value === "open" ? null : state.value, kind: kind.value });
    return this.showAnew();
  }

  showAnew() {
    this.panel.forget();
    return this.refresh();
  }

  /** The number beside the link is kept in every view. */
  async refresh() {
    await Promise.all([this.count(), isShown("alarms") && this.panel.ask(() => this.read()), isShown("alarms") && this.conditions.ask(() => this.readConditions())]);
  }

  async count() {
    const open = await get("/api/alarms?state=open&acknowledged=false");
    const place = byId("alarms-open");
    place.hidden = open.length === 0;
    place.dataset.severity = open.some((alarm) => alarm.severity === "critical") ? "critical" : "warning";
    setText(place, open.length === 0 ? "" : `${count(open.length)} new`);
  }

  get path() {
    const { state, kind } = this.form.elements;
    const chosen = [["state", state.value], ["kind", kind.value], ["limit", PER_PAGE]].filter(([, value]) => value !== "" && value !== "any");
    return `/api/alarms?${new URLSearchParams(chosen)}`;
  }

  async read() {
    const path = this.path;
    const { entries, next } = await getPage(path);
    if (path !== this.path) return;
    this.alarms = entries;
    this.next = next;
    this.show();
  }

  async readOlder() {
    const { entries, next } = await getPage(this.next);
    this.alarms = [...this.alarms, ...entries];
    this.next = next;
    this.show();
  }

  show() {
    const empty = this.form.elements.state.value === "open" ? "No alarm is open." : "There is no such alarm.";
    showTable(byId("alarms-table"), this.columns(), this.alarms, "Alarms", empty);
    setText(byId("alarms-count"), `${count(this.alarms.length)} alarms, the newest first`);
    byId("alarms-older").hidden = this.next === null;
  }

  columns() {
    return [
      { title: "Raised", cell: (alarm) => time(alarm.raisedAt, exactMoment(alarm.raisedAt)) },
      { title: "Severity", cell: (alarm) => element("span", { class: "severity", "data-severity": alarm.severity }, alarm.severity) },
      { title: "Kind", cell: (alarm) => words(alarm.kind) },
      { title: "What", cell: (alarm) => element("span", { class: "wrap" }, alarm.detail) },
      { title: "Value (threshold, worst)", cell: valueOf, isNumber: true },
      { title: "Cleared", cell: (alarm) => (alarm.clearedAt === null ? "open" : time(alarm.clearedAt, exactMoment(alarm.clearedAt))) },
      { title: "Acknowledged", cell: (alarm) => this.acknowledgement(alarm) },
    ];
  }

  acknowledgement(alarm) {
    if (alarm.acknowledgedAt !== null) return element("span", {}, `${alarm.acknowledgedBy}, `, time(alarm.acknowledgedAt, exactMoment(alarm.acknowledgedAt)));
    const label = `Acknowledge: ${alarm.detail}`;
    return element("button", { type: "button", class: "link", "aria-label": label, onclick: () => this.acknowledge(alarm) }, "Acknowledge");
  }

  async acknowledge(alarm) {
    try {
      await post(`/api/alarms/${encodeURIComponent(alarm.id)}/acknowledge`);
      setText(byId("alarms-message"), "");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      setText(byId("alarms-message"), error.message);
    }
    await this.refresh();
  }

  async readConditions() {
    const conditions = await get("/api/alarms/conditions");
    showTable(byId("conditions-table"), CONDITIONS, conditions, "Conditions of alarms", "The jobs have evaluated nothing yet.");
    this.offerKinds(conditions);
    this.panel.setDoubt(doubtOf(conditions));
  }

  offerKinds(conditions) {
    const { kind } = this.form.elements;
    if (kind.options.length > conditions.length) return;
    const chosen = new URLSearchParams(location.hash.split("?")[1]).get("kind") ?? "";
    kind.replaceChildren(new Option("any", ""), ...conditions.map((each) => new Option(words(each.kind), each.kind)));
    kind.value = chosen;
  }
}

const CONDITIONS = [
  { title: "Kind", cell: (condition) => words(condition.kind) },
  { title: "What is measured", cell: (condition) => element("span", { class: "wrap" }, condition.meaning) },
  { title: "Now", cell: (condition) => withUnit(condition.value, condition.unit), isNumber: true },
  { title: "Raised from", cell: (condition) => withUnit(condition.threshold, condition.unit), isNumber: true },
  { title: "Open", cell: (condition) => count(condition.openAlarms), isNumber: true },
  { title: "Evaluated", cell: (condition) => (condition.error === null ? time(condition.evaluatedAt, exactMoment(condition.evaluatedAt)) : element("span", { class: "wrap" }, `not: ${condition.error}`)) },
];

const words = (kind) => kind.replaceAll("_", " ");
const withUnit = (value, unit) => (value === null ? "–" : `${number(value)} ${unit}`.trim());
const valueOf = (alarm) => `${withUnit(alarm.value, alarm.unit)} (${number(alarm.threshold)}, ${number(alarm.worstValue)})`;

/** No alarm means that all is well only if conditions are evaluated. */
function doubtOf(conditions) {
  if (conditions.length === 0) return "The jobs have evaluated nothing yet.";
  const newest = conditions.map((each) => each.evaluatedAt).filter((at) => at !== null).sort().at(-1);
  if (newest === undefined) return "The jobs have evaluated nothing yet.";
  const ageS = (Date.now() - Date.parse(newest)) / 1000;
  return ageS > LATE_AFTER_S ? `The jobs last evaluated alarms ${duration(ageS)} ago.` : null;
}
