// What an event would do, or stopping one, in words: shown before somebody agrees.

import { count, element, number } from "./page.js";
import { moment, ZONE } from "./times.js";

/** @param {object} preview the answer of `POST /api/events?dryRun=1` */
export function describePreview(preview, event, baseline) {
  const verb = event.direction === "increase" ? "more to be used" : "to be shed";
  return paragraphs(
    `From ${moment(preview.startTime)} to ${moment(preview.endTime)} (${ZONE}): ${number(preview.requestedReductionKw)} kW ${verb}.`,
    whoIsAsked(preview),
    passedOver(preview.notes),
    similar(preview, baseline),
    "Stop undoes it: every notified VEN is sent a restore.",
  );
}

const paragraphs = (...texts) => texts.filter(Boolean).map((text) => element("p", {}, text));

function whoIsAsked({ vens, sharedReductionKw, availableKw, requestedReductionKw }) {
  const less = requestedReductionKw - sharedReductionKw;
  const missing = less > 0.001 ? ` That is ${number(less)} kW less than the request.` : "";
  return `As things are, ${count(vens.length)} VENs would be asked for ${number(sharedReductionKw)} kW together, of ${number(availableKw)} kW that they could give (reported by VENs).${missing}`;
}

/** VENs that an event does not ask, by reason. */
export function passedOver(notes) {
  return notes.length ? `Passed over: ${notes.map(({ reason, vens }) => `${count(vens)} ${reason}`).join(", ")}.` : "";
}

function similar({ similarEvents, similarPerformancePercent }, baseline) {
  if (!similarEvents.length) return "No similar event has been settled yet.";
  return `Similar events (${similarEvents.length}) delivered ${number(similarPerformancePercent)} % of what was requested (measured against ${baseline}).`;
}

/** @param {object} event the answer of `GET /api/events/{eventId}` */
export function describeStop(event, baseline) {
  const notified = event.vens.filter((ven) => ["notified", "acknowledged", "started"].includes(ven.status)).length;
  const spread = event.staggerReturnS ? `, over ${event.staggerReturnS} s` : "";
  const restored = notified ? `${count(notified)} notified VENs are sent a restore${spread}.` : "No VEN has been notified yet.";
  const now = `It ends now instead of at ${moment(event.plannedEndTime)}. It delivers ${number(event.currentReductionKw)} kW now (measured against ${baseline}, provisional).`;
  return paragraphs(event.status === "active" ? now : "It is cancelled before its start.", restored, "This cannot be undone; a new event can be started.");
}
