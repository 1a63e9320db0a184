// The messages of one VEN: intervals, gaps, and rejected messages.

import { get } from "./api.js";
import { byId, count, element, showTable, time } from "./page.js";
import { Panel } from "./panels.js";
import { duration, exactMoment, moment } from "./times.js";

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const MOST = 50;

const REJECTED = [
  { title: "Received", cell: (message) => time(message.receivedAt, exactMoment(message.receivedAt)) },
  { title: "Topic", cell: (message) => message.topic },
  { title: "Reason", cell: (message) => message.reason },
  { title: "What is wrong", cell: (message) => element("span", { class: "wrap" }, message.detail) },
  { title: "Message", cell: (message) => element("details", {}, element("summary", {}, `${count(message.bytes)} bytes`), element("code", { class: "wrap" }, message.start)) },
];
const GAPS = [
  { title: "Nothing from", cell: (gap) => time(gap.from, moment(gap.from)) },
  { title: "To", cell: (gap) => time(gap.to, moment(gap.to)) },
  { title: "For", cell: (gap) => duration(gap.lengthS) },
];

export class VenMessages {
  constructor() {
    this.gaps = new Panel(byId("ven-gaps"), 60);
    this.rejected = new Panel(byId("ven-rejected"), 10);
  }

  forget(path) {
    this.path = path;
    this.gaps.forget();
    this.rejected.forget();
  }

  refresh() {
    const path = this.path;
    return Promise.all([
      this.rejected.ask(async () => {
        const start = new Date(Date.now() - 7 * DAY_MS).toISOString();
        const messages = await get(`${path}/rejected?limit=${MOST}&start=${start}`);
        if (path === this.path) showTable(byId("ven-rejected-table"), REJECTED, messages, `The newest ${MOST} rejected messages of a week`, "No message of this VEN was rejected within a week.");
      }),
      this.gaps.ask(() => this.readGaps(path)),
    ]);
  }

  async readGaps(path) {
    const ven = await get(path);
    const now = Date.now();
    const widthMs = ven.slotMinutes * MINUTE_MS;
    const from = Math.max(now - DAY_MS, Date.parse(ven.createdAt));
    const start = new Date(Math.floor(from / widthMs) * widthMs).toISOString();
    const { points } = await get(`${path}/history?granularity=${ven.slotMinutes}m&aggregate=mean&start=${start}`);
    const interval = await reportIntervalS(path, ven);
    if (path !== this.path) return;
    byId("ven-interval").textContent = `Report interval: ${interval === null ? "not known" : `${count(Math.round(interval))} s, the median of its last quarter of an hour of reports`}.`;
    const gaps = gapsIn(points.map((point) => Date.parse(point.timestamp)), Date.parse(start), now, widthMs);
    const whole = ven.lastSeen === null ? "It has never reported." : `Each ${ven.slotMinutes} minutes of the last day, or since it was registered, have a report.`;
    showTable(byId("ven-gaps-table"), GAPS, gaps, "Data gaps of the last day", whole);
  }
}

/** The median of the times between its last reports, s; null without two of them. */
async function reportIntervalS(path, ven) {
  if (ven.lastSeen === null) return null;
  const end = Date.parse(ven.lastSeen);
  const start = new Date(end - 15 * MINUTE_MS).toISOString();
  const { points } = await get(`${path}/history?granularity=1s&aggregate=sum&start=${start}`);
  const times = points.map((point) => Date.parse(point.timestamp));
  const between = times.slice(1).map((at, place) => (at - times[place]) / 1000).sort((one, other) => one - other);
  return between.length ? between[Math.floor(between.length / 2)] : null;
}

/** Runs of slots without a report. The slot that is not over yet is none. */
function gapsIn(slots, startMs, nowMs, widthMs) {
  const gaps = [];
  let next = startMs;
  for (const slot of [...slots, Math.floor(nowMs / widthMs) * widthMs]) {
    if (slot > next) gaps.push({ from: new Date(next).toISOString(), to: new Date(slot).toISOString(), lengthS: (slot - next) / 1000 });
    next = slot + widthMs;
  }
  return gaps.reverse();
}
