// The form of an event: all that the API takes, for a new one and for one that is changed.

import { get, Refused } from "./api.js";
import { field, valuesOf } from "./fields.js";
import { readGroups } from "./group-names.js";
import { element, setText } from "./page.js";

/** A collapsible form of an event; its action gets the body of the API. */
export class EventForm {
  /**
   * @param {HTMLDetailsElement} place
   * @param {string} action what the button says
   * @param {(body: object) => Promise<void>} does
   */
  constructor(place, action, does) {
    this.place = place;
    this.fields = [];
    this.form = element("form", { class: "fields columns" });
    this.message = element("p", { role: "alert", class: "message" });
    this.action = element("button", { type: "submit" }, action);
    place.append(this.form, this.message);
    place.addEventListener("toggle", () => place.open && this.attempt(() => this.fill()));
    this.form.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      this.attempt(() => does(() => eventBody(valuesOf(this.form, this.fields))));
    });
  }

  /** The event whose values the form has when it is opened. */
  setEvent(event) {
    if (this.event?.id !== event?.id) this.place.open = false;
    this.event = event;
  }

  async fill() {
    this.fields = await eventFields(this.event);
    this.form.replaceChildren(...this.fields.map(field), element("div", { class: "wide" }, this.action));
  }

  async attempt(does) {
    setText(this.message, "");
    try {
      await does();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      setText(this.message, error.message);
    }
  }
}

const minutesOf = (seconds) => (seconds == null ? null : Number((seconds / 60).toFixed(3)));
const secondsOf = (minutes) => (minutes == null ? null : minutes * 60);

/** The fields, filled in as an event has it. */
export async function eventFields(event = {}) {
  const [groups, types] = await Promise.all([readGroups(), get("/api/stats/loads")]);
  const aims = event.targets ?? {};
  return [
    { name: "requestedReductionKw", label: "Request, kW of all VENs together", kind: "number", isRequired: true, value: event.requestedReductionKw },
    { name: "direction", label: "Direction", kind: "choice", value: event.direction ?? "reduce", options: [["reduce", "reduce: use less"], ["increase", "increase: use more"]] },
    { name: "startTime", label: "Start", hint: "empty: now", kind: "time", value: event.startTime },
    { name: "endTime", label: "End", kind: "time", isRequired: true, value: event.plannedEndTime },
    { name: "leadTime", label: "Lead time, minutes", hint: "time between notification of VENs and start; empty: the setting's default", kind: "number", min: 0, max: 1440, value: minutesOf(event.leadTimeS) },
    { name: "priority", label: "Priority", hint: "the higher event gets a VEN that both want", kind: "number", value: event.priority ?? 0 },
    { name: "groups", label: "Groups", hint: "with the VENs below; neither: everybody", kind: "choices", value: aims.groups, options: groups.map((group) => [group.id, group.name]) },
    { name: "loadTypes", label: "Load types", hint: "of these VENs only such loads; none: all", kind: "choices", value: aims.loadTypes, options: types.map(({ type }) => [type, type]) },
    { name: "venIds", label: "VENs by id", hint: "separated by commas", kind: "words", value: aims.venIds },
    { name: "intervals", label: "Intervals", hint: "minutes at kW, such as 15 at 50, 30 at 100", kind: "words", value: (event.intervals ?? []).map((each) => `${minutesOf(each.durationS)} at ${each.targetKw}`) },
    { name: "randomizeStart", label: "Spread starts over, minutes", kind: "number", min: 0, max: 60, value: minutesOf(event.randomizeStartS ?? 0) },
    { name: "staggerReturn", label: "Spread returns over, minutes", kind: "number", min: 0, max: 60, value: minutesOf(event.staggerReturnS ?? 0) },
    { name: "importLimitKw", label: "Import limit of each VEN, kW", kind: "number", min: 0, value: event.importLimitKw },
    { name: "exportLimitKw", label: "Export limit of each VEN, kW", kind: "number", min: 0, value: event.exportLimitKw },
  ];
}

/** The body that the API takes, of values of the fields. */
export function eventBody(values) {
  const { groups, loadTypes, venIds } = values;
  const isAimed = groups.length + loadTypes.length + venIds.length > 0;
  return {
    requestedReductionKw: values.requestedReductionKw,
    direction: values.direction,
    startTime: values.startTime ?? new Date().toISOString(),
    endTime: values.endTime,
    leadTimeS: secondsOf(values.leadTime),
    priority: values.priority ?? 0,
    targets: isAimed ? { groups, loadTypes, venIds } : null,
    intervals: values.intervals.length ? values.intervals.map(interval) : null,
    randomizeStartS: secondsOf(values.randomizeStart ?? 0),
    staggerReturnS: secondsOf(values.staggerReturn ?? 0),
    importLimitKw: values.importLimitKw,
    exportLimitKw: values.exportLimitKw,
  };
}

/** `15 at 50` is 50 kW for 15 minutes; what is not so is left to the server to refuse. */
function interval(text) {
  const [minutes, kw] = text.split(/\s+at\s+/i).map(Number);
  return { durationS: secondsOf(minutes), targetKw: kw };
}

/** What of a body is other than the event has it. */
export function changesOf(body, event) {
  const now = eventBody(valuesOfEvent(event));
  return Object.fromEntries(Object.entries(body).filter(([key, value]) => !isSame(key, value, now[key])));
}

function valuesOfEvent(event) {
  return {
    ...event,
    endTime: event.plannedEndTime,
    leadTime: minutesOf(event.leadTimeS),
    ...event.targets,
    intervals: event.intervals.map((each) => `${minutesOf(each.durationS)} at ${each.targetKw}`),
    randomizeStart: minutesOf(event.randomizeStartS),
    staggerReturn: minutesOf(event.staggerReturnS),
    importLimitKw: event.importLimitKw ?? null,
    exportLimitKw: event.exportLimitKw ?? null,
  };
}

/** Inputs of time know no seconds: a time whose minute stays is the same. */
function isSame(key, one, other) {
  if (key.endsWith("Time")) return Math.floor(Date.parse(one) / 60_000) === Math.floor(Date.parse(other) / 60_000);
  return JSON.stringify(one) === JSON.stringify(other);
}
