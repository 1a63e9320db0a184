// The running event against its target, or the next one; and a way to start and to stop one.

import { get, post, Refused, remove } from "./api.js";
import { baselineName } from "./baseline.js";
import { ask } from "./dialogs.js";
import { groupName } from "./group-names.js";
import { byId, count, element, MEASURED, moment, number, setText } from "./page.js";
import { Panel } from "./panels.js";
import { describePreview, describeStop, passedOver } from "./preview.js";
import { linkTo } from "./route.js";
import { fromWallTime } from "./times.js";

const form = byId("event-form");
export const panel = new Panel(byId("event"), 5, draw);
let current = null;
let drawn = null;

export const refreshEvent = () => panel.ask(readCurrent);

async function readCurrent() {
  current = await get("/api/events/current");
  draw();
}

/** Something about an event has changed. What counts as current is the server's word. */
export function heardOfEvent(event) {
  return panel.ask(async () => {
    if (!(current && event && event.id === current.id && event.status === current.status)) return readCurrent();
    current = event;
    draw();
  });
}

/** Time goes on while nothing is heard; but a button is not replaced under somebody's finger without need. */
export function draw() {
  const isFresh = panel.isFresh;
  form.elements.start.disabled = !isFresh;
  setText(byId("event-off"), isFresh ? "" : "Start is off until it is known which event runs.");
  const view = byId("event-view");
  const wanted = JSON.stringify([current, current && minutesLeft(current), current && presentTarget(current), isFresh]);
  if (wanted === drawn) return;
  drawn = wanted;
  const focused = view.contains(document.activeElement);
  view.replaceChildren(...parts(isFresh));
  if (focused) view.querySelector("button")?.focus();
}

function parts(isFresh) {
  if (current === null) return [element("p", {}, isFresh ? "No event is running or planned." : `At ${panel.asOf} no event was running or planned.`)];
  return current.status === "active" ? running(current) : planned(current);
}

const minutesLeft = (event) => Math.max(0, Math.ceil((Date.parse(event.endTime) - Date.now()) / 60_000));

const eventLink = (event) => element("a", { href: linkTo("events", event.id) }, `event ${event.id}`);

/** What a reduction is measured by. */
export const provisional = (event) =>
  `${MEASURED} against ${baselineName()}, provisional: ${event.direction === "increase" ? "usage less baseline" : "baseline less usage"}`;

function running(event) {
  const target = presentTarget(event);
  const now = event.currentReductionKw;
  const of = `${number(now)} of ${number(target)} kW`;
  return [
    element("p", {}, element("strong", {}, `${of} ${event.direction === "increase" ? "more used" : "shed"}`),
      ` (${provisional(event)}) in `, eventLink(event), `, ${minutesLeft(event)} min to go (until ${moment(event.endTime)})`),
    element("progress", { max: target || 1, value: Math.max(0, now ?? 0), "aria-label": "Delivered against the request" }, of),
    element("p", { class: "hint" }, `${responding(event)} ${passedOver(event.notes)}`),
    element("p", { class: "hint" }, terms(event)),
    element("button", { type: "button", class: "danger", onclick: () => stop(event) }, "Stop event"),
  ];
}

function responding(event) {
  const answered = !event.vensResponding ? "" : `, answering in ${Math.round(event.avgResponseMs)} ms on average`;
  return `${count(event.vensResponding ?? 0)} VENs respond${answered}; ${count(event.vensReporting ?? 0)} VENs report, and count.`;
}

/** What the event asks for at a time, kW: of its interval then; after the last one, of all the rest. */
export function targetAt(event, ms) {
  const elapsedS = (ms - Date.parse(event.startTime)) / 1000;
  const present = event.intervals.findLast((interval) => interval.offsetS <= elapsedS) ?? event.intervals[0];
  const isOver = !present || elapsedS >= present.offsetS + present.durationS;
  return isOver ? event.requestedReductionKw : present.targetKw;
}

const presentTarget = (event) => targetAt(event, Date.now());

/** Direction, targets, intervals, spread and limits, with the words of the API. */
export function terms(event) {
  return [
    `Direction: ${event.direction}.`, `Targets: ${targets(event.targets)}.`, intervals(event),
    event.randomizeStartS ? `Starts are spread over ${event.randomizeStartS} s.` : "",
    event.staggerReturnS ? `Returns are spread over ${event.staggerReturnS} s.` : "",
    event.importLimitKw == null ? "" : `Import limit of each VEN: ${number(event.importLimitKw)} kW.`,
    event.exportLimitKw == null ? "" : `Export limit of each VEN: ${number(event.exportLimitKw)} kW.`,
  ].filter(Boolean).join(" ");
}

export function targets({ groups, loadTypes, venIds }) {
  const kinds = [["groups", groups.map(groupName)], ["load types", loadTypes], ["VENs", venIds]];
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

function planned(event) {
  const target = number(event.intervals[0]?.targetKw ?? event.requestedReductionKw);
  return [
    element("p", {}, element("strong", {}, `${target} kW ${event.direction === "increase" ? "more to be used" : "to be shed"}`), ` from ${moment(event.startTime)} to ${moment(event.endTime)} (`, eventLink(event), ")"),
    element("p", { class: "hint" }, passedOver(event.notes)),
    element("p", { class: "hint" }, terms(event)),
    element("button", { type: "button", class: "danger", onclick: () => cancel(event) }, "Cancel event"),
  ];
}

export const path = (event) => `/api/events/${encodeURIComponent(event.id)}`;

/** Shows what stopping an event does, and stops it if somebody agrees. */
export const stop = (event) => end(event, "Stop", () => post(`${path(event)}/stop`));

/** The same of one that has not begun. */
export const cancel = (event) => end(event, "Cancel", () => remove(path(event)));

async function end(event, word, does) {
  return withMessage(async () => {
    const body = describeStop(await get(path(event)), baselineName());
    const isDone = await ask({ title: `${word} event ${event.id}?`, body, action: `${word} event`, isDanger: true, does });
    if (isDone) await refreshEvent();
    return isDone;
  });
}

/** Shows what an event would do, and makes it if somebody agrees; answers the event. */
export async function start(body) {
  const preview = await post("/api/events?dryRun=1", body());
  let made = null;
  await ask({
    title: "Start this event?",
    body: describePreview(preview, body(), baselineName()),
    action: "Start event",
    does: async () => {
      made = await post("/api/events", body());
    },
  });
  if (made) await refreshEvent();
  return made;
}

async function withMessage(does) {
  const message = byId("event-message");
  try {
    const answer = await does();
    setText(message, "");
    return answer;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    setText(message, error.message);
    return null;
  }
}

/** The event of the form; its start, if it is now, is when this is called. */
function fromForm() {
  const { kw, minutes, from } = form.elements;
  const startMs = from.value ? fromWallTime(from.value) : Date.now();
  const [startTime, endTime] = [startMs, startMs + minutes.value * 60_000].map((ms) => new Date(ms).toISOString());
  return { startTime, endTime, requestedReductionKw: Number(kw.value) };
}

export function startEvents() {
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    withMessage(() => start(fromForm));
  });
  draw();
}
