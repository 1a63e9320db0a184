// One event: what it asks for, what it delivers over time against its baseline, and each VEN's part.

import { get, patch, Refused } from "./api.js";
import { baselineName } from "./baseline.js";
import { drawEvent } from "./charts.js";
import { ask } from "./dialogs.js";
import { changesOf, EventForm } from "./event-form.js";
import { PHASES } from "./event-list.js";
import { cancel, path, provisional, stop, targetAt, terms } from "./events.js";
import { byId, count, element, facts, MEASURED, number, setText, showFacts, statusMark, time } from "./page.js";
import { PagedTable } from "./paged-table.js";
import { Panel } from "./panels.js";
import { passedOver } from "./preview.js";
import { isShown, linkTo } from "./route.js";
import { exactMoment, moment, ZONE } from "./times.js";

const ANSWERS = {
  planned: "not notified: unreachable", notified: "notified, not acknowledged yet", acknowledged: "accepted", opted_out: "opted out", started: "delivers", finished: "finished",
};

const withUnit = (value, unit) => (value == null ? "–" : `${number(value)} ${unit}`);
const kwOrDash = (key) => (ven) => number(ven[key]);
const between = ({ deliveredLowKw: low, deliveredHighKw: high }) => (low == null || high == null ? "–" : `${number(low)} to ${number(high)}`);
const COLUMNS = [
  { key: "venId", title: "VEN", text: (ven) => ven.venId, node: (ven) => element("a", { href: linkTo("vens", ven.venId) }, ven.venId) },
  { key: "venName", title: "Name", text: (ven) => ven.venName },
  { key: "requestedReductionKw", title: "Asked, kW", text: kwOrDash("requestedReductionKw"), isNumber: true },
  { key: "answer", title: "Answered", text: (ven) => ven.answer, value: (ven) => ven.answer },
  { key: "acknowledgedAt", title: "Accepted at", text: (ven) => exactMoment(ven.acknowledgedAt), node: (ven, text) => time(ven.acknowledgedAt, text), value: (ven) => ven.acknowledgedAt && Date.parse(ven.acknowledgedAt) },
  { key: "shedKw", title: `Delivers, kW (${MEASURED})`, text: kwOrDash("shedKw"), isNumber: true },
  { key: "deliveredLowKw", title: "In 90 % of cases between, kW", text: between, isNumber: true },
  { key: "performancePercent", title: "Of the request, %", text: kwOrDash("performancePercent"), isNumber: true },
  { key: "whyNot", title: "Why not, and notes", text: (ven) => ven.whyNot, node: (_ven, text) => element("span", { class: "wrap" }, text), value: (ven) => ven.whyNot || null },
];

export class EventPage {
  constructor() {
    this.id = null;
    this.panel = new Panel(byId("event-one"), 5);
    this.delivery = new Panel(byId("event-delivery"), 30);
    this.parts = new Panel(byId("event-vens"), 5);
    this.table = new PagedTable(byId("event-vens-table"), {
      name: "event-vens", caption: "VENs of the event", columns: COLUMNS, keyOf: (ven) => ven.venId, empty: "No VEN takes part yet.",
    });
    this.form = new EventForm(byId("event-change"), "Show what changes", (body) => this.change(body()));
    byId("event-revision").addEventListener("change", () => this.showDelivery());
    byId("event-baseline").addEventListener("change", () => this.showDelivery());
  }

  path() {
    return `/api/events/${encodeURIComponent(this.id)}`;
  }

  open(id) {
    if (id !== this.id) this.forget(id);
    return this.refresh();
  }

  forget(id) {
    this.id = id;
    this.event = null;
    this.performance = null;
    this.drawn = null;
    for (const panel of [this.panel, this.delivery, this.parts]) panel.forget();
    for (const name of ["event-revision", "event-baseline"]) offer(byId(name), [], "");
    setText(byId("event-one-title"), `Event ${id}`);
    this.form.setEvent(null);
  }

  get isShown() {
    return this.id !== null && isShown("events", this.id);
  }

  refresh() {
    if (!this.isShown) return null;
    return this.panel.ask(async () => {
      const event = await get(this.path());
      if (event.id !== this.id) return;
      const before = this.event && phaseOf(this.event);
      this.event = event;
      this.form.setEvent(event);
      this.showFacts(event);
      this.showVens();
      if (phaseOf(event) !== before) await this.showDelivery();
    });
  }

  /** Of its progress the page asks every few seconds: with all VENs, which may be many. */
  heardOfEvent(event) {
    return event?.id === this.id && event.status === this.event?.status ? null : this.refresh();
  }

  showFacts(event) {
    const place = byId("event-facts");
    showFacts(place, this.factsOf(event));
    setText(byId("event-terms"), `${terms(event)} ${passedOver(event.notes)}`);
    byId("event-time").href = linkTo("overview", null, { from: event.startTime, to: event.endTime });
    if (place.drawnStatus === `${event.id} ${event.status}`) return;
    place.drawnStatus = `${event.id} ${event.status}`;
    byId("event-actions").replaceChildren(...this.actions(event));
  }

  factsOf(event) {
    const settled = event.isSettled ? `${MEASURED} against ${baselineName()}, settled` : provisional(event);
    return [
      ["Status", statusMark(PHASES[event.status])],
      ["From", time(event.startTime, moment(event.startTime))],
      ["To", time(event.endTime, moment(event.endTime))],
      ["Lead time", `${event.leadTimeS / 60} min`],
      ["Priority", count(event.priority)],
      ["Requested", `${number(event.requestedReductionKw)} kW`],
      [`Delivered on average (${settled})`, event.isMeasured ? `${number(event.actualReductionKw)} kW` : "–"],
      ...(event.status === "active" ? [[`Delivers now (${provisional(event)})`, `${number(event.currentReductionKw)} kW`]] : []),
      ["VENs that respond, and that report", `${count(event.vensResponding)}, ${count(event.vensReporting)}`],
    ];
  }

  actions(event) {
    const button = (text, does) => element("button", { type: "button", class: "danger", onclick: () => this.act(does) }, text);
    const isOver = !["scheduled", "active"].includes(event.status);
    byId("event-change").hidden = isOver;
    if (isOver) return [];
    return event.status === "active" ? [button("Stop event", () => stop(event))] : [button("Cancel event", () => cancel(event))];
  }

  async act(does) {
    setText(byId("event-one-message"), (await does()) === null ? byId("event-message").textContent : "");
    await this.refresh();
  }

  async change(body) {
    const changes = changesOf(body, this.event);
    const lines = Object.entries(changes).map(([key, value]) => element("p", {}, `${key}: ${JSON.stringify(value)}`));
    const text = lines.length ? [element("p", {}, "This is changed; VENs whose share, end or targets change are notified at once:"), ...lines] : [element("p", {}, "Nothing is changed.")];
    const isDone = await ask({ title: `Change event ${this.id}?`, body: text, action: "Change event", does: () => (lines.length ? patch(this.path(), changes) : null) });
    if (isDone) this.form.place.open = false;
    await this.refresh();
  }

  refreshDelivery() {
    return this.isShown && this.event?.status === "active" ? this.showDelivery() : null;
  }

  /** What it delivered, by the revision and the baseline that are chosen; a part that has no answer yet says why. */
  showDelivery() {
    if (!this.isShown) return null;
    return this.delivery.ask(async () => {
      this.offerDownloads();
      await this.showPerformance();
      await this.showSeries();
    });
  }

  question() {
    const chosen = { revision: byId("event-revision").value, baseline: byId("event-baseline").value };
    return new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
  }

  offerDownloads() {
    const files = [["performance", "by VEN"], ["baseline", "over time"]];
    const links = files.flatMap(([route, what]) => ["csv", "parquet"].map((format) => this.download(route, what, format)));
    byId("event-downloads").replaceChildren(...links);
  }

  download(route, what, format) {
    const question = new URLSearchParams([["format", format], ...this.question()]);
    if (route === "baseline") question.delete("revision");
    return element("a", { href: `${this.path()}/${route}?${question}`, download: `${this.id}-${route}.${format}` }, `${what}, ${format === "csv" ? "CSV" : "Parquet"}`);
  }

  async showPerformance() {
    const place = byId("event-performance");
    try {
      this.performance = await get(`${this.path()}/performance?${this.question()}`);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 409) throw error;
      this.performance = null;
      place.replaceChildren(element("p", {}, error.message));
      return;
    }
    const { portfolio, baseline, provisional: isProvisional, settledAt, intervalPercent } = this.performance;
    const source = `${MEASURED} against ${baseline.name}, ${isProvisional ? "provisional" : "settled"}`;
    place.replaceChildren(element("dl", { class: "facts" }, ...facts([
      ["Requested on average", withUnit(portfolio.requestedKw, "kW")],
      [`Delivered (${source})`, `${withUnit(portfolio.deliveredKw, "kW")}, ${withUnit(portfolio.deliveredKwh, "kWh")}`],
      [`In ${intervalPercent} % of cases between`, intervalOf(portfolio, isProvisional)],
      ["Of the request", withUnit(portfolio.performancePercent, "%")],
      [`Baseline (${baseline.meaning})`, withUnit(portfolio.baselineKw, "kW")],
      [`Used (${MEASURED})`, withUnit(portfolio.actualKw, "kW")],
      ["Time with usage and baseline", withUnit(portfolio.coveragePercent, "%")],
      ["Settled at", exactMoment(settledAt)],
      ["Note", portfolio.note ?? "–"],
    ])));
    this.offerRevisions();
    this.showVens();
  }

  offerRevisions() {
    const { revisions, revision, baselines, baseline } = this.performance;
    offer(byId("event-revision"), (revisions ?? []).map((each) => [String(each.revision), `${each.revision}, of ${exactMoment(each.settledAt)}`]), String(revision));
    offer(byId("event-baseline"), (baselines ?? []).map((name) => [name, name]), baseline.name);
  }

  async showSeries() {
    const chosen = byId("event-baseline").value;
    const series = await get(`${this.path()}/baseline${chosen ? `?baseline=${encodeURIComponent(chosen)}` : ""}`);
    const place = byId("event-chart");
    const wanted = JSON.stringify(series);
    place.hidden = series.points.length === 0;
    setText(byId("event-caption"), this.describe(series));
    if (this.drawn === wanted || place.hidden) return;
    this.drawn = wanted;
    this.series = series;
    await this.draw();
  }

  async draw() {
    if (!this.series || !this.event || this.drawn === null) return;
    const sign = this.event.direction === "increase" ? 1 : -1;
    const asked = this.series.points.map((point) => targetAt(this.event, Date.parse(point.timestamp)));
    await drawEvent(byId("event-chart"), this.series, asked, sign);
    byId("event-chart").setAttribute("aria-label", this.describe(this.series));
  }

  describe({ points, baseline, vens, note }) {
    if (points.length === 0) return "There is no baseline yet: no VEN takes part.";
    return `Mean power of ${count(vens)} VENs by 5 minutes (${ZONE}): used (${MEASURED}), the baseline ${baseline.name} (${baseline.meaning}), and the target, which is baseline and request.${note ? ` ${note}` : ""}`;
  }

  showVens() {
    if (!this.event) return;
    const settled = new Map((this.performance?.vens ?? []).map((ven) => [ven.venId, ven]));
    const rows = this.event.vens.map((ven) => ({ ...ven, ...(settled.get(ven.venId) ?? {}), shedKw: settled.get(ven.venId)?.deliveredKw ?? ven.shedKw }));
    for (const row of rows) Object.assign(row, { answer: ANSWERS[row.status], whyNot: [row.reason, row.note].filter(Boolean).join("; ") });
    setText(byId("event-vens-count"), `${count(rows.length)} VENs take part; those passed over are counted above, by reason.`);
    this.table.show(rows);
    return this.parts.ask(async () => {});
  }
}

/** What its delivery is asked for anew at each change of. */
const phaseOf = (event) => `${event.status} ${event.isSettled}`;

/** How sure a settled delivery is, or why that is not known. */
function intervalOf(portfolio, isProvisional) {
  if (portfolio.deliveredLowKw != null && portfolio.deliveredHighKw != null) return `${between(portfolio)} kW`;
  return isProvisional ? "not known before the settlement" : "not known: fewer than five similar days";
}

function offer(select, options, chosen) {
  const wanted = JSON.stringify(options);
  if (select.offered !== wanted) {
    select.offered = wanted;
    select.replaceChildren(...options.map(([key, title]) => element("option", { value: key }, title)));
  }
  if (options.length) select.value = chosen;
  select.closest("label").hidden = options.length === 0;
}
