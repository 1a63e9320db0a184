// The running event against its target, or the next one; and a way to start and to stop one.

import { get, post, remove } from "./api.js";
import { byId, element, moment, number } from "./page.js";

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
  const wanted = JSON.stringify([current, current && minutesLeft(current)]);
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
  const target = event.requestedReductionKw;
  const now = event.currentReductionKw;
  const minutes = minutesLeft(event);
  const of = `${number(now)} of ${number(target)} kW`;
  return [
    element("p", {}, element("strong", {}, `${of} ${event.direction === "increase" ? "more used" : "shed"}`), ` in event ${event.id}, ${minutes} min to go (until ${moment(event.endTime)})`),
    element("progress", { max: target, value: Math.max(0, now ?? 0), "aria-label": "Reduction against the target" }, of),
    element("p", { class: "hint" }, `${responding(event)} ${passedOver(event)}`),
    element("button", { type: "button", class: "danger", onclick: () => act(() => post(`${path(event)}/stop`)) }, "Stop event"),
  ];
}

function responding(event) {
  const answered = !event.vensResponding ? "" : `, answering in ${Math.round(event.avgResponseMs)} ms on average`;
  return `${event.vensResponding ?? 0} VENs respond${answered}.`;
}

function passedOver(event) {
  if (!event.notes.length) return "";
  return `Not asked: ${event.notes.map(({ reason, vens }) => `${vens} ${reason}`).join(", ")}.`;
}

function planned(event) {
  return [
    element("p", {}, element("strong", {}, `${number(event.requestedReductionKw)} kW${event.direction === "increase" ? " more" : ""}`), ` from ${moment(event.startTime)} to ${moment(event.endTime)} (event ${event.id})`),
    element("p", { class: "hint" }, passedOver(event)),
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
