// The network now: cards, and load types.

import { get } from "./api.js";
import { drawTypes } from "./charts.js";
import { byId, element, MEASURED, number, REPORTED, table, withSource } from "./page.js";

const CARDS = [
  ["Used now", MEASURED, (now) => [number(now.householdUsageKw), "kW"]],
  ["Could be shed now", REPORTED, (now) => [number(now.controllablePowerKw), "kW"]],
  ["Being shed", REPORTED, (now) => [number(now.currentLoadReductionKw), "kW"]],
  ["VENs online", null, (now) => [String(now.onlineVens), `of ${now.venCount}`]],
  ["Mean of a home", MEASURED, (now) => [number(now.averageHousePower), "kW"]],
  ["Used today", MEASURED, (now) => [number(now.totalHousePowerToday), "kWh"]],
];

let values = null;
let types = [];

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

export async function refreshNetwork() {
  showNetwork(await get("/api/stats/network"));
}

export async function refreshTypes() {
  types = await get("/api/stats/loads");
  await drawTypesAgain();
  byId("types-table").replaceChildren(table(COLUMNS, types, "Load types, kW"));
}

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
