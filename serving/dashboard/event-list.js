// Events: planned, running and past, with filters.

import { get } from "./api.js";
import { targets, terms } from "./events.js";
import { byId, count, element, MEASURED, number, statusMark, time } from "./page.js";
import { PagedTable } from "./paged-table.js";
import { Panel } from "./panels.js";
import { isShown, linkTo, route, setParams } from "./route.js";
import { fromWallTime, moment } from "./times.js";

export const PHASES = { scheduled: "planned", active: "running", completed: "past", cancelled: "cancelled" };
const ORDER = { running: 0, planned: 1, past: 2, cancelled: 3 };

const COLUMNS = [
  { key: "phase", title: "Status", text: (event) => event.phase, value: (event) => ORDER[event.phase], node: (event) => statusMark(event.phase) },
  { key: "id", title: "Event", text: (event) => event.id, node: (event) => element("a", { href: linkTo("events", event.id) }, event.id) },
  { key: "startTime", title: "Start", text: (event) => moment(event.startTime), node: (event, text) => time(event.startTime, text), value: (event) => Date.parse(event.startTime) },
  { key: "endTime", title: "End", text: (event) => moment(event.endTime), node: (event, text) => time(event.endTime, text), value: (event) => Date.parse(event.endTime) },
  { key: "requestedReductionKw", title: "Requested, kW", text: (event) => number(event.requestedReductionKw), isNumber: true },
  { key: "actualReductionKw", title: `Delivered, kW (${MEASURED}, mean)`, text: delivered, isNumber: true, value: (event) => (event.isMeasured ? event.actualReductionKw : null) },
  { key: "targets", title: "Targets", text: (event) => targets(event.targets), value: (event) => targets(event.targets) },
];

function delivered(event) {
  if (!event.isMeasured) return "–";
  return `${number(event.actualReductionKw)}${event.isSettled ? "" : ", provisional"}`;
}

export class EventList {
  constructor() {
    this.panel = new Panel(byId("event-list"), 10);
    this.form = byId("event-filter");
    this.events = [];
    this.table = new PagedTable(byId("event-table"), {
      name: "event-list", caption: "Events", columns: COLUMNS, keyOf: (event) => event.id,
      sort: { key: "startTime", sign: -1 }, empty: "No event is like that.",
    });
    this.form.addEventListener("submit", (submitted) => submitted.preventDefault());
    this.form.addEventListener("input", () => this.filter());
  }

  refresh() {
    return isShown("events", null) ? this.panel.ask(() => this.read()) : null;
  }

  async read() {
    this.events = (await get("/api/events")).map((event) => ({
      ...event, phase: PHASES[event.status], words: `${event.id}\n${event.targets.groups.join("\n")}\n${targets(event.targets)}\n${terms(event)}`.toLowerCase(),
    }));
    this.find();
  }

  /** As the address says. */
  open() {
    const { params } = route();
    for (const name of ["phase", "words", "since", "until"]) this.form.elements[name].value = params.get(name) ?? "";
    this.find();
    return this.refresh();
  }

  filter() {
    const { phase, words, since, until } = this.form.elements;
    setParams({ phase: phase.value, words: words.value, since: since.value, until: until.value });
    this.find(0);
  }

  find(page) {
    const { phase, words, since, until } = this.form.elements;
    const [from, to] = [since, until].map((day) => (day.value ? fromWallTime(`${day.value}T00:00:00`) : null));
    const sought = words.value.trim().toLowerCase();
    const found = this.events.filter(
      (event) =>
        (!phase.value || event.phase === phase.value) && event.words.includes(sought) &&
        (from === null || Date.parse(event.endTime) >= from) && (to === null || Date.parse(event.startTime) < to + DAY_MS),
    );
    byId("event-count").textContent = `${count(found.length)} of ${count(this.events.length)} events`;
    this.table.show(found, page);
  }
}

const DAY_MS = 86_400_000;
