// Plotly, in our colours.

import { MEASURED, REPORTED, wallTime, withSource } from "./page.js";
import { colour } from "./theme.js";
import { LANGUAGES } from "./times.js";

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false, locale: "browser" };

Plotly.register({ moduleType: "locale", name: "browser", dictionary: {}, format: languageOfBrowser() });

/** Names of months and days, and marks of numbers, as the browser's language has them. */
function languageOfBrowser() {
  const named = (options, dates) => dates.map((date) => new Intl.DateTimeFormat(LANGUAGES, { timeZone: "UTC", ...options }).format(date));
  const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2023, month, 15));
  const days = Array.from({ length: 7 }, (_, day) => Date.UTC(2023, 0, 1 + day));
  const marks = Object.fromEntries(new Intl.NumberFormat(LANGUAGES).formatToParts(1234567.8).map(({ type, value }) => [type, value]));
  return {
    months: named({ month: "long" }, months), shortMonths: named({ month: "short" }, months),
    days: named({ weekday: "long" }, days), shortDays: named({ weekday: "short" }, days),
    ...orderOfDates(),
    decimal: marks.decimal, thousands: marks.group ?? "", date: "%x", grouping: [3], currency: ["", ""],
  };
}

function orderOfDates() {
  const parts = new Intl.DateTimeFormat(LANGUAGES, { dateStyle: "medium" }).formatToParts().map(({ type }) => type);
  const isDayFirst = parts.indexOf("day") < parts.indexOf("month");
  return isDayFirst ? { dayMonth: "%-d %b", dayMonthYear: "%-d %b %Y" } : {};
}

/** Charts that were drawn while they were hidden take the width that they have now. */
export function resizeCharts() {
  for (const chart of document.querySelectorAll(".view:not([hidden]) .js-plotly-plot")) Plotly.Plots.resize(chart);
}

function layout(more) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
  return {
    margin: { l: 55, r: 15, t: 10, b: 35 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
    legend: { orientation: "h", yanchor: "bottom", y: 1.02 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("panel"), font: { color: colour("ink") } },
    dragmode: "zoom",
    ...more,
    xaxis: { ...axis, ...more.xaxis },
    yaxis: { ...axis, ...more.yaxis },
  };
}

/**
 * Lines over time, kW. A gap in the buckets is a gap in the line.
 * @param {{name: string, points: object[], key: string, colourName: string, dash?: string, shiftMs?: number}[]} lines
 */
export function drawLines(place, lines, granularityS, range) {
  const traces = lines.map(({ name, points, key, colourName, dash, shiftMs = 0 }) => ({
    ...withGaps(points, key, granularityS, shiftMs), name, type: "scatter", mode: points.length === 1 ? "markers" : "lines",
    line: { color: colour(colourName), width: 2, dash }, hovertemplate: "%{y:.2f} kW",
  }));
  const shape = layout({
    xaxis: { type: "date", range: range.map(wallTime) },
    yaxis: { title: { text: "mean power, kW" }, rangemode: "tozero", fixedrange: true },
  });
  return Plotly.react(place, traces, shape, CONFIG);
}

const SLOT_MS = 300_000;

/**
 * Usage in an event against its baseline, kW; and the target, which is so much less, or more.
 * @param {{points: object[]}} series the answer of `GET /api/events/{eventId}/baseline`
 * @param {number[]} requestedKw at each point
 * @param {1 | -1} sign 1 where more is asked for
 */
export function drawEvent(place, { points }, requestedKw, sign) {
  const starts = points.map((point) => Date.parse(point.timestamp));
  const x = [...starts, ...starts.slice(-1).map((ms) => ms + SLOT_MS)].map(wallTime);
  const line = (name, y, colourName, dash) => ({
    x, y: [...y, ...y.slice(-1)], name, type: "scatter", mode: "lines", line: { color: colour(colourName), width: 2, dash, shape: "hv" }, hovertemplate: "%{y:.2f} kW",
  });
  const target = points.map((point, at) => (point.baselineKw == null ? null : point.baselineKw + sign * requestedKw[at]));
  const shape = layout({ xaxis: { type: "date" }, yaxis: { title: { text: "mean power, kW" }, rangemode: "tozero", fixedrange: true } });
  return Plotly.react(place, [
    line("baseline", points.map((point) => point.baselineKw), "could"),
    line("target", target, "shed", "dash"),
    line(withSource("used", MEASURED), points.map((point) => point.usedPowerKw), "used"),
  ], shape, CONFIG);
}

const MOST_SVG = 500;
const COLOUR_OF_STATUS = { online: "could", offline: "bad", maintenance: "shed" };

/** Places of VENs by status; degrees, so that north is up and distances are alike both ways. */
export function drawPlaces(place, vens) {
  const statuses = [...new Set(vens.map((ven) => ven.status))].sort();
  const marks = statuses.map((status) => {
    const those = vens.filter((ven) => ven.status === status);
    return {
      x: those.map((ven) => ven.degrees[1]), y: those.map((ven) => ven.degrees[0]), customdata: those.map((ven) => ven.id), text: those.map((ven) => ven.name), name: status,
      type: vens.length > MOST_SVG ? "scattergl" : "scatter", mode: "markers", marker: { color: colour(COLOUR_OF_STATUS[status] ?? "soft"), size: 9 }, hovertemplate: "%{text}<extra></extra>",
    };
  });
  const middle = vens[0].degrees[0];
  const shape = layout({
    hovermode: "closest", dragmode: "pan", showlegend: true,
    xaxis: { title: { text: "longitude, degrees" }, zeroline: false },
    yaxis: { title: { text: "latitude, degrees" }, zeroline: false, scaleanchor: "x", scaleratio: 1 / Math.max(0.1, Math.cos((middle * Math.PI) / 180)) },
  });
  return Plotly.react(place, marks, shape, { ...CONFIG, scrollZoom: false });
}

const LONGEST_BUCKET = 1.1;
/** A day on which clocks are set back has 25 hours. */

function withGaps(points, key, granularityS, shiftMs) {
  const x = [], y = [];
  let before = null;
  for (const point of points) {
    const at = Date.parse(point.timestamp);
    if (before !== null && at - before > granularityS * LONGEST_BUCKET * 1000) {
      x.push(shifted(before + 1, shiftMs));
      y.push(null);
    }
    x.push(shifted(at, shiftMs));
    y.push(point[key]);
    before = at;
  }
  return { x, y };
}

/** So much later by clocks at the site, whatever they were set to between. */
const shifted = (ms, shiftMs) => (shiftMs ? new Date(Date.parse(`${wallTime(ms)}Z`) + shiftMs).toISOString().slice(0, -1) : wallTime(ms));

/**
 * A band from P10 to P90 around the median, kW. Half hours without a forecast are gaps in it.
 * @param {{at: number, low: number|null, median: number|null, high: number|null}[]} points
 */
export function drawBand(place, points, name, colourName) {
  const times = points.map((point) => wallTime(point.at));
  const ink = colour(colourName);
  const line = (key, label, dash, width) => ({
    x: times, y: points.map((point) => point[key]), name: label, type: "scatter", mode: "lines",
    line: { color: ink, width, dash }, hovertemplate: "%{y:.2f} kW",
  });
  const bands = runs(points).map((run) => ({
    x: [...run, ...run.toReversed()].map((point) => wallTime(point.at)),
    y: [...run.map((point) => point.high), ...run.toReversed().map((point) => point.low)],
    type: "scatter", mode: "lines", fill: "toself", fillcolor: ink.replace("rgb(", "rgba(").replace(")", ", 0.22)"),
    line: { width: 0 }, hoverinfo: "skip", showlegend: false,
  }));
  const shape = layout({
    xaxis: { type: "date", fixedrange: true },
    yaxis: { title: { text: `${name}, kW` }, rangemode: "tozero", fixedrange: true },
    dragmode: false,
  });
  const lines = [line("high", "P90", "dot", 1), line("median", "P50, the median", "solid", 2), line("low", "P10", "dash", 1)];
  return Plotly.react(place, [...bands, ...lines], shape, CONFIG);
}

/** Points that follow each other without a gap. */
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point.median !== null) found.at(-1).push(point);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((run) => run.length);
}

/** Bars by load type, kW. */
export function drawTypes(place, types) {
  const bar = (name, key, colourName) => ({
    x: types.map((each) => each[key]), y: types.map((each) => each.type), name, type: "bar",
    orientation: "h", marker: { color: colour(colourName) }, hovertemplate: "%{x:.2f} kW",
  });
  const bars = [
    bar(withSource("used now", MEASURED), "currentUsageKw", "used"),
    bar(withSource("could be shed", REPORTED), "totalShedCapabilityKw", "could"),
  ];
  const shape = layout({
    margin: { l: 55, r: 15, t: 35, b: 35 },
    hovermode: "y unified",
    dragmode: false,
    xaxis: { title: { text: "kW" }, fixedrange: true },
    yaxis: { autorange: "reversed", fixedrange: true, type: "category" },
  });
  return Plotly.react(place, bars, shape, CONFIG);
}
