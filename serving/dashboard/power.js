// A history of power with a choice of ranges, and zoom: one for the network, one for the VEN that is open.

import { get } from "./api.js";
import { drawLines } from "./charts.js";
import { choices, element, fromWallTime, MEASURED, moment, number, REPORTED, table, withSource, ZONE } from "./page.js";

const HOUR_MS = 3_600_000;
const RANGES = [
  ["3", "3 h"], ["24", "24 h"], ["168", "7 days"], ["720", "30 days"], ["8760", "a year"],
];
/** Mean power is built on slots of five minutes, so each of these is a multiple of that. */
const GRANULARITIES_S = [300, 900, 3600, 6 * 3600, 86_400];
const MOST_POINTS = 400;
const SHORTEST_MS = 15 * 60_000;

const granularityFor = (ms) =>
  GRANULARITIES_S.find((seconds) => ms / 1000 / seconds <= MOST_POINTS) ?? GRANULARITIES_S.at(-1);

const words = (seconds) => (seconds < 3600 ? `${seconds / 60} minutes` : seconds === 3600 ? "an hour" : `${seconds / 3600} hours`);

export class PowerChart {
  /**
   * @param {{chart: Element, caption: Element, ranges: Element, table?: Element}} places
   * @param {string} name
   * @param {import("./panels.js").Panel} panel what says whether the chart is of the present
   */
  constructor(places, name, panel) {
    this.panel = panel;
    this.places = places;
    this.name = name;
    this.path = null;
    this.hours = "24";
    this.zoomed = null;
    this.drawn = null;
    this.asked = 0;
    this.press = choices(places.ranges, RANGES, (key) => this.choose(key));
    this.press(this.hours);
  }

  /** Shows the history at a path, or, without one, nothing. */
  async show(path, name = this.name) {
    if (path !== this.path) this.zoomed = null;
    this.path = path;
    this.name = name;
    if (path !== null) await this.refresh();
  }

  choose(hours) {
    this.hours = hours;
    this.zoomed = null;
    return this.refresh();
  }

  range() {
    const now = Date.now();
    return this.zoomed ?? [now - this.hours * HOUR_MS, now];
  }

  refresh() {
    return this.path === null ? null : this.panel.ask(() => this.read());
  }

  /** Asks anew; an answer that a newer question has overtaken is not shown. */
  async read() {
    const asked = ++this.asked;
    const range = this.range();
    const granularityS = granularityFor(range[1] - range[0]);
    const [start, end] = range.map((ms) => new Date(ms).toISOString());
    const question = new URLSearchParams({ start, end, granularity: `${granularityS}s`, aggregate: "mean" });
    const answer = await get(`${this.path}?${question}`);
    if (asked !== this.asked) return;
    this.drawn = { points: answer.points, granularityS, range, warning: answer.warning };
    await this.draw();
  }

  async draw() {
    if (!this.drawn) return;
    const { points, granularityS, range } = this.drawn;
    const { chart, caption } = this.places;
    await drawLines(chart, points, granularityS, range);
    if (!this.listens) {
      chart.on("plotly_relayout", (change) => this.zoom(change));
      chart.on("plotly_doubleclick", () => this.choose(this.hours));
      this.listens = true;
    }
    const told = this.describe();
    chart.setAttribute("aria-label", `${this.name}. ${told}`);
    caption.textContent = told;
    if (this.places.table) this.places.table.replaceChildren(pointsTable(points, this.name));
  }

  zoom(change) {
    if (!change["xaxis.range[0]"]) return null;
    const [from, to] = [0, 1].map((n) => fromWallTime(change[`xaxis.range[${n}]`]));
    const middle = (from + to) / 2;
    this.zoomed = to - from < SHORTEST_MS ? [middle - SHORTEST_MS / 2, middle + SHORTEST_MS / 2] : [from, to];
    return this.refresh();
  }

  describe() {
    const { points, granularityS, warning } = this.drawn;
    if (points.length === 0) return "Nothing was reported in this range.";
    const used = points.map((point) => point.usedPowerKw);
    const shed = Math.max(...points.map((point) => point.shedPowerKw));
    const span = `Mean power by ${words(granularityS)} (${ZONE}). Between ${number(Math.min(...used))} and ${number(Math.max(...used))} kW used (${MEASURED})`;
    const shedding = shed > 0 ? `, up to ${number(shed)} kW shed (${REPORTED})` : "";
    const how = this.zoomed ? " Double-click to zoom out." : " Drag to zoom.";
    return `${span}${shedding}.${how}${warning ? ` ${warning}` : ""}`;
  }
}

function pointsTable(points, name) {
  const columns = [
    { title: "From", cell: (point) => element("time", { datetime: point.timestamp }, moment(point.timestamp)) },
    { title: withSource("Used, kW", MEASURED), cell: (point) => number(point.usedPowerKw), isNumber: true },
    { title: withSource("Shed, kW", REPORTED), cell: (point) => number(point.shedPowerKw), isNumber: true },
  ];
  return table(columns, points, name);
}
