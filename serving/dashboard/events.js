// The running event against its target, or the next one; and a way to start and to stop one.

import { get, post, remove } from "./api.js";
import { byId, element, MEASURED, moment, number } from "./page.js";

const form = byId("event-form");
let current = null;
let drawn = null;

export async function refreshEvent() {
  showEvent(await get("/api/events/current"));
}

/** Shows the running event, the next one, or that there is none. */
export function showEvent(event) {
  current = event;
  draw();
}

/** Something about an event has changed. What counts as current is the server's word. */
export async function heardOfEvent(event) {
  if (current && event && event.id === current.id && event.status === current.status) showEvent(event);
  else await refreshEvent();
}

/** Time goes on while nothing is heard; but a button is not replaced under somebody's finger without need. */
export function draw() {
  const view = byId("event-view");
  const wanted = JSON.stringify([current, current && minutesLeft(current), current && presentTarget(current)]);
  if (wanted === drawn) return;
  drawn = wanted;
  const focused = view.contains(document.activeElement);
  view.replaceChildren(...parts());
  if (focused) view.querySelector("button")?.focus();
}

function parts() {
  if (current === null) return [element("p", {}, "No event is running or planned.")];
  return current.status === "active" ? running(current) : planned(current);
}

const minutesLeft = (event) => Math.max(0, Math.ceil((Date.parse(event.endTime) - Date.now()) / 60_000));

function running(event) {
  const target = presentTarget(event);
  const now = event.currentReductionKw;
  const of = `${number(now)} of ${number(target)} kW`;
  return [
    element("p", {}, element("strong", {}, `${of} ${event.direction === "increase" ? "more used" : "shed"}`),
      ` (${MEASURED}: ${event.direction === "increase" ? "usage less baseline" : "baseline less usage"}) in event ${event.id}, ${minutesLeft(event)} min to go (until ${moment(event.endTime)})`),
    element("progress", { max: target || 1, value: Math.max(0, now ?? 0), "aria-label": "Delivered against the request" }, of),
    element("p", { class: "hint" }, `${responding(event)} ${passedOver(event)}`),
    terms(event),
    element("button", { type: "button", class: "danger", onclick: () => act(() => post(`${path(event)}/stop`)) }, "Stop event"),
  ];
}

function responding(event) {
  const answered = !event.vensResponding ? "" : `, answering in ${Math.round(event.avgResponseMs)} ms on average`;
  return `${event.vensResponding ?? 0} VENs respond${answered}; ${event.vensReporting ?? 0} VENs report, and count.`;
}

/** What the event asks for now, kW: of its present interval; after the last one, of all the rest. */
function presentTarget(event) {
  const elapsedS = (Date.now() - Date.parse(event.startTime)) / 1000;
  const present = event.intervals.findLast((interval) => interval.offsetS <= elapsedS) ?? event.intervals[0];
  const isOver = !present || elapsedS >= present.offsetS + present.durationS;
  return isOver ? event.requestedReductionKw : present.targetKw;
}

/** Direction, targets, intervals, spread and limits, with the words of the API. */
function terms(event) {
  const parts = [
    `Direction: ${event.direction}.`, `Targets: ${targets(event.targets)}.`, intervals(event),
    event.randomizeStartS ? `Starts are spread over ${event.randomizeStartS} s.` : "",
    event.staggerReturnS ? `Returns are spread over ${event.staggerReturnS} s.` : "",
    event.importLimitKw == null ? "" : `Import limit of each VEN: ${number(event.importLimitKw)} kW.`,
    event.exportLimitKw == null ? "" : `Export limit of each VEN: ${number(event.exportLimitKw)} kW.`,
  ];
  return element("p", { class: "hint" }, parts.filter(Boolean).join(" "));
}

function targets({ groups, loadTypes, venIds }) {
  const kinds = [["groups", groups], ["load types", loadTypes], ["VENs", venIds]];
  const named = kinds.filter(([, ids]) => ids.length).map(([kind, ids]) => `${kind} ${some(ids)}`);
  return named.join("; ") || "all VENs";
}

const MOST_NAMED = 5;

function some(ids) {
  const more = ids.length > MOST_NAMED ? ` and ${ids.length - MOST_NAMED} more` : "";
  return ids.slice(0, MOST_NAMED).join(", ") + more;
}

const minutes = (seconds) => String(Number((seconds / 60).toFixed(1)));

function intervals(event) {
  if (!event.intervals.length) return "";
  const each = event.intervals.map((interval) => `${number(interval.targetKw)} kW for ${minutes(interval.durationS)} min`);
  return `Intervals: ${some(each)}.`;
}

/** The event's notes: VENs that are passed over, opt-outs among them. */
function passedOver(event) {
  if (!event.notes.length) return "";
  return `Passed over: ${event.notes.map(({ reason, vens }) => `${vens} ${reason}`).join(", ")}.`;
}

function planned(event) {
  const target = number(event.intervals[0]?.targetKw ?? event.requestedReductionKw);
  return [
    element("p", {}, element("strong", {}, `${target} kW ${event.direction === "increase" ? "more to be used" : "to be shed"}`), ` from ${moment(event.startTime)} to ${moment(event.endTime)} (event ${event.id})`),
    element("p", { class: "hint" }, passedOver(event)),
    terms(event),
    element("button", { type: "button", class: "danger", onclick: () => act(() => remove(path(event))) }, "Cancel event"),
  ];
}

const path = (event) => `/api/events/${encodeURIComponent(event.id)}`;

async function act(does) {
  const message = byId("event-message");
  try {
    await does();
    message.textContent = "";
  } catch (error) {
    message.textContent = error.message;
  }
  await refreshEvent();
}

export function startEvents() {
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    const { kw, minutes, from } = form.elements;
    const start = from.value ? new Date(from.value) : new Date();
    const end = new Date(start.getTime() + minutes.value * 60_000);
    const event = { startTime: start.toISOString(), endTime: end.toISOString(), requestedReductionKw: Number(kw.value) };
    act(() => post("/api/events", event));
  });
}
