// A history of power over the range that all charts share: with what was a day or a week before, and with generation.

import { get } from "./api.js";
import { drawLines } from "./charts.js";
import { element, fromWallTime, MEASURED, moment, number, REPORTED, table, withSource, ZONE } from "./page.js";
import { comparedDays, describeRange, endFreeRange, isFree, isGenerationShown, onRange, range, RangePicker, zoomTo } from "./range.js";
import { daysBefore } from "./times.js";

/** Mean power is built on slots of five minutes, so each of these is a multiple of that. Days are those of the site. */
const DAY_S = 86_400;
const GRANULARITIES_S = [300, 900, 3600, 6 * 3600, DAY_S];
const MOST_POINTS = 400;
const DAY_MS = 86_400_000;
const BEFORE = { 1: "the day before", 7: "the week before" };

const granularityFor = (ms) =>
  GRANULARITIES_S.find((seconds) => ms / 1000 / seconds <= MOST_POINTS) ?? GRANULARITIES_S.at(-1);

function words(seconds) {
  if (seconds < 3600) return `${seconds / 60} minutes`;
  return { 3600: "an hour", [DAY_S]: "a day" }[seconds] ?? `${seconds / 3600} hours`;
}

export class PowerChart {
  /**
   * @param {{chart: Element, caption: Element, ranges: Element, table?: Element}} places
   * @param {string} name
   * @param {import("./panels.js").Panel} panel what says whether the chart is of the present
   * @param {{isShown: () => boolean, typesPath?: string}} more `typesPath` is a history by type of load, for generation
   */
  constructor(places, name, panel, { isShown, typesPath = null }) {
    Object.assign(this, { places, name, panel, isShown, typesPath });
    this.path = null;
    this.drawn = null;
    this.asked = 0;
    this.picker = new RangePicker(places.ranges, { hasGeneration: typesPath !== null });
    onRange(() => this.refresh());
  }

  /** What was drawn is of something else now. */
  forget() {
    this.panel.forget();
    this.drawn = null;
  }

  /** Shows the history at a path. */
  async show(path, name = this.name) {
    if (path !== this.path) this.forget();
    this.path = path;
    this.name = name;
    await this.refresh();
  }

  refresh() {
    return this.path === null || !this.isShown() ? null : this.panel.ask(() => this.read());
  }

  /** Asks anew; an answer that a newer question has overtaken is not shown, and resolves to false. */
  async read() {
    const asked = ++this.asked;
    const wanted = range();
    const days = comparedDays();
    const granularityS = granularityFor(wanted[1] - wanted[0]);
    const [answer, before, types] = await Promise.all([
      this.history(this.path, wanted, granularityS),
      days ? this.history(this.path, wanted.map((ms) => daysBefore(ms, days)), granularityS) : null,
      this.typesPath && isGenerationShown() ? this.history(this.typesPath, wanted, granularityS) : null,
    ]);
    if (asked !== this.asked) return false;
    const now = JSON.stringify([answer, before, types, wanted.map((ms) => Math.floor(ms / 60_000)), this.name]);
    if (now === this.drawnText && this.drawn) return true;
    this.drawnText = now;
    this.drawn = { ...withGeneration(answer.points, types), granularityS, range: wanted, warning: answer.warning, before: before && { points: before.points, days } };
    await this.draw();
    return true;
  }

  history(path, [start, end], granularityS) {
    const question = new URLSearchParams({ start: new Date(start).toISOString(), end: new Date(end).toISOString(), granularity: granularityS === DAY_S ? "1d" : `${granularityS}s`, aggregate: "mean" });
    return get(`${path}${path.includes("?") ? "&" : "?"}${question}`);
  }

  async draw() {
    if (!this.drawn) return;
    const { points, granularityS, range: shown } = this.drawn;
    const { chart, caption } = this.places;
    await drawLines(chart, this.lines(), granularityS, shown);
    if (!this.listens) {
      chart.on("plotly_relayout", (change) => this.zoom(change));
      chart.on("plotly_doubleclick", endFreeRange);
      this.listens = true;
    }
    const text = this.describe();
    chart.setAttribute("aria-label", `${this.name}. ${text}`);
    caption.textContent = text;
    if (this.places.table) this.places.table.replaceChildren(pointsTable(points, this.name, this.drawn.hasGeneration));
  }

  lines() {
    const { points, before, hasGeneration } = this.drawn;
    const line = (name, key, colourName, more = {}) => ({ name, colourName, points, key, ...more });
    const generation = [line(withSource("consumption", `${MEASURED}: used and generated`), "consumedKw", "ink", { dash: "dot" }), line(withSource("generation", `${MEASURED}, of loads`), "generatedKw", "could")];
    return [
      line(withSource("used", MEASURED), "usedPowerKw", "used"),
      line(withSource("shed", REPORTED), "shedPowerKw", "shed"),
      ...(hasGeneration ? generation : []),
      ...(before ? [line(withSource(`used ${BEFORE[before.days]}`, MEASURED), "usedPowerKw", "soft", { points: before.points, dash: "dash", shiftMs: before.days * DAY_MS })] : []),
    ];
  }

  zoom(change) {
    if (!change["xaxis.range[0]"]) return;
    zoomTo(...[0, 1].map((n) => fromWallTime(change[`xaxis.range[${n}]`])));
  }

  describe() {
    const { points, granularityS, warning, before, range: shown } = this.drawn;
    const when = describeRange(shown);
    if (points.length === 0) return `${when}: nothing was reported.`;
    const used = points.map((point) => point.usedPowerKw);
    const shed = Math.max(...points.map((point) => point.shedPowerKw));
    const span = `Mean power by ${words(granularityS)}, ${when}. Between ${number(Math.min(...used))} and ${number(Math.max(...used))} kW used (${MEASURED})`;
    const shedding = shed > 0 ? `, up to ${number(shed)} kW shed (${REPORTED})` : "";
    const compared = before ? ` Mean of the range ${number(mean(points))} kW, of ${BEFORE[before.days]} ${number(mean(before.points))} kW (${MEASURED}).` : "";
    const how = isFree() ? " Double-click to zoom out." : " Drag to zoom.";
    return `${span}${shedding}.${compared}${how}${warning ? ` ${warning}` : ""}`;
  }
}

const mean = (points) => (points.length ? points.reduce((sum, point) => sum + point.usedPowerKw, 0) / points.length : null);

/** What types of load feed in, and what is consumed: used at the meter, and generated besides. */
function withGeneration(points, types) {
  if (types === null) return { points, hasGeneration: false };
  const generated = new Map();
  for (const { timestamp, usedPowerKw } of types.points) {
    generated.set(timestamp, (generated.get(timestamp) ?? 0) + Math.max(0, -usedPowerKw));
  }
  const both = points.map((point) => {
    const generatedKw = generated.get(point.timestamp) ?? null;
    return { ...point, generatedKw, consumedKw: generatedKw === null ? null : point.usedPowerKw + generatedKw };
  });
  return { points: both, hasGeneration: true };
}

function pointsTable(points, name, hasGeneration) {
  const column = (title, key) => ({ title, cell: (point) => number(point[key]), isNumber: true });
  const columns = [
    { title: `From (${ZONE})`, cell: (point) => element("time", { datetime: point.timestamp }, moment(point.timestamp)) },
    column(withSource("Used, kW", MEASURED), "usedPowerKw"),
    column(withSource("Shed, kW", REPORTED), "shedPowerKw"),
    ...(hasGeneration ? [column(withSource("Generation, kW", MEASURED), "generatedKw"), column(withSource("Consumption, kW", MEASURED), "consumedKw")] : []),
  ];
  return table(columns, points, name);
}
