// The network now: cards, and load types.

import { get } from "./api.js";
import { drawTypes } from "./charts.js";
import { byId, count, element, MEASURED, number, REPORTED, showTable, withSource } from "./page.js";
import { Panel } from "./panels.js";

const CARDS = [
  ["Used now", MEASURED, (now) => [number(now.householdUsageKw), "kW"]],
  ["Could be shed now", REPORTED, (now) => [number(now.controllablePowerKw), "kW"]],
  ["Being shed", REPORTED, (now) => [number(now.currentLoadReductionKw), "kW"]],
  ["VENs online", null, (now) => [count(now.onlineVens), `of ${count(now.venCount)}`]],
  ["Mean of a home", MEASURED, (now) => [number(now.averageHousePower), "kW"]],
  ["Used today", MEASURED, (now) => [number(now.totalHousePowerToday), "kWh"]],
];

let values = null;
let types = [];

export const networkPanel = new Panel(byId("now"), 10);
export const typesPanel = new Panel(byId("types"), 10);

/** Shows NetworkStats. Elements stay, so that a reader's place and a selection stay, too. */
export function showNetwork(now) {
  values ??= CARDS.map(([title, source]) => {
    const value = element("dd");
    byId("cards").append(element("div", {}, element("dt", {}, withSource(title, source)), value));
    return value;
  });
  CARDS.forEach(([, , amountAndUnit], place) => {
    const [amount, unit] = amountAndUnit(now);
    const text = `${amount} ${unit}`;
    if (values[place].textContent !== text) values[place].replaceChildren(`${amount} `, element("small", {}, unit));
  });
  byId("welcome").hidden = now.venCount > 0;
}

export const refreshNetwork = () => networkPanel.ask(async () => showNetwork(await get("/api/stats/network")));

/** The stream has sent the totals. */
export const heardOfNetwork = (now) => networkPanel.ask(async () => showNetwork(now));

export const refreshTypes = () => typesPanel.ask(async () => {
  const now = await get("/api/stats/loads");
  if (JSON.stringify(now) === JSON.stringify(types)) return;
  types = now;
  await drawTypesAgain();
  showTable(byId("types-table"), COLUMNS, types, "Load types, kW", "No load has been reported.");
});

export async function drawTypesAgain() {
  const chart = byId("types-chart");
  chart.hidden = types.length === 0;
  if (types.length) await drawTypes(chart, types);
  chart.setAttribute("aria-label", types.map((t) => `${t.type}: ${number(t.currentUsageKw)} kW used (${MEASURED}), ${number(t.totalShedCapabilityKw)} kW could be shed (${REPORTED})`).join("; "));
}

const COLUMNS = [
  { title: "Type", cell: (type) => type.type },
  { title: withSource("Used, kW", MEASURED), cell: (type) => number(type.currentUsageKw), isNumber: true },
  { title: withSource("Could be shed, kW", REPORTED), cell: (type) => number(type.totalShedCapabilityKw), isNumber: true },
  { title: withSource("Capacity, kW", REPORTED), cell: (type) => number(type.totalCapacityKw), isNumber: true },
];
