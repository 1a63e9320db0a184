// Plotly, in our colours.

import { MEASURED, REPORTED, wallTime, withSource } from "./page.js";
import { colour } from "./theme.js";

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false };

function layout(more) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
  return {
    margin: { l: 55, r: 15, t: 10, b: 35 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
    legend: { orientation: "h", y: 1.12 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("panel"), font: { color: colour("ink") } },
    dragmode: "zoom",
    ...more,
    xaxis: { ...axis, ...more.xaxis },
    yaxis: { ...axis, ...more.yaxis },
  };
}

/** Lines over time, kW. A gap in the buckets is a gap in the line. */
export function drawLines(place, points, granularityS, range) {
  const { times, used, shed } = withGaps(points, granularityS);
  const line = (name, values, colourName) => ({
    x: times, y: values, name, type: "scatter", mode: points.length === 1 ? "markers" : "lines",
    line: { color: colour(colourName), width: 2 }, hovertemplate: "%{y:.2f} kW",
  });
  const shape = layout({
    xaxis: { type: "date", range: range.map(wallTime) },
    yaxis: { title: { text: "mean power, kW" }, rangemode: "tozero", fixedrange: true },
  });
  return Plotly.react(place, [line(withSource("used", MEASURED), used, "used"), line(withSource("shed", REPORTED), shed, "shed")], shape, CONFIG);
}

function withGaps(points, granularityS) {
  const times = [], used = [], shed = [];
  let before = null;
  for (const point of points) {
    const at = Date.parse(point.timestamp);
    if (before !== null && at - before > granularityS * 1000) {
      times.push(wallTime(before + 1));
      used.push(null);
      shed.push(null);
    }
    times.push(wallTime(at));
    used.push(point.usedPowerKw);
    shed.push(point.shedPowerKw);
    before = at;
  }
  return { times, used, shed };
}

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
