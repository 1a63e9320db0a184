// What loads will use, and could shed, in the next 48 hours: a band between P10 and P90.

import { get } from "./api.js";
import { drawBand } from "./charts.js";
import { byId, choices, element, MEASURED, moment, number, REPORTED, table, withSource, ZONE } from "./page.js";
import { Panel } from "./panels.js";
import { isShown } from "./route.js";

const QUANTITIES = {
  used: { label: "Usage", key: "used", name: "used", source: MEASURED, colour: "used" },
  shed: { label: "Could be shed", key: "shedCapability", name: "could be shed", source: REPORTED, colour: "could" },
};
const ALL = "";

export class Forecast {
  constructor() {
    this.type = ALL;
    this.quantity = "used";
    this.answers = null;
    this.panel = new Panel(byId("forecast"), 120);
    const options = Object.entries(QUANTITIES).map(([key, { label }]) => [key, label]);
    const press = choices(byId("forecast-quantities"), options, (key) => this.choose({ quantity: key }));
    press(this.quantity);
    byId("forecast-type").addEventListener("change", (change) => this.choose({ type: change.target.value }));
  }

  choose(what) {
    Object.assign(this, what);
    return this.draw();
  }

  refresh() {
    return isShown("overview") ? this.panel.ask(() => this.read()) : null;
  }

  async read() {
    const [total, byType] = await Promise.all([get("/api/forecast?by=total"), get("/api/forecast")]);
    this.answers = { total, byType };
    this.offerTypes([...new Set(byType.points.map((point) => point.type))]);
    await this.draw();
  }

  offerTypes(types) {
    const place = byId("forecast-type");
    if (!types.includes(this.type)) this.type = ALL;
    const options = types.map((type) => element("option", { value: type }, type));
    place.replaceChildren(element("option", { value: ALL }, "all together"), ...options);
    place.value = this.type;
  }

  points() {
    const { total, byType } = this.answers;
    const own = this.type === ALL ? total.points : byType.points.filter((point) => point.type === this.type);
    const { key } = QUANTITIES[this.quantity];
    return own.map((point) => ({
      at: Date.parse(point.timestamp), timestamp: point.timestamp, days: point[`${key}Days`],
      low: point[`${key}P10Kw`], median: point[`${key}P50Kw`], high: point[`${key}P90Kw`],
    }));
  }

  async draw() {
    if (!this.answers) return;
    const points = this.points(), quantity = QUANTITIES[this.quantity];
    const known = points.filter((point) => point.median !== null);
    const chart = byId("forecast-chart");
    chart.hidden = known.length === 0;
    if (known.length) await drawBand(chart, points, withSource(quantity.name, quantity.source), quantity.colour);
    const loads = this.type === ALL ? "All loads together" : `Loads of type ${this.type}`;
    const text = known.length ? describe(known, loads, quantity) : this.reason();
    chart.setAttribute("aria-label", text);
    byId("forecast-caption").textContent = text;
    byId("forecast-table").replaceChildren(known.length ? table(COLUMNS, points, `${loads}: ${quantity.name}, kW`) : "");
  }

  reason() {
    const answer = this.type === ALL ? this.answers.total : this.answers.byType;
    return answer.note ?? "There is no forecast.";
  }
}

function describe(known, loads, quantity) {
  const most = known.reduce((one, other) => (other.median > one.median ? other : one));
  const band = `${number(most.median)} kW ${quantity.name} (${quantity.source}), between ${number(most.low)} and ${number(most.high)} kW in eight cases of ten`;
  return `${loads}, by half hours (${ZONE}), from ${Math.min(...known.map((point) => point.days))} similar days or more. The median is highest at ${moment(most.timestamp)}: ${band}.`;
}

const COLUMNS = [
  { title: "From", cell: (point) => element("time", { datetime: point.timestamp }, moment(point.timestamp)) },
  { title: "P10, kW", cell: (point) => number(point.low), isNumber: true },
  { title: "P50, kW", cell: (point) => number(point.median), isNumber: true },
  { title: "P90, kW", cell: (point) => number(point.high), isNumber: true },
  { title: "Similar days", cell: (point) => String(point.days), isNumber: true },
];
