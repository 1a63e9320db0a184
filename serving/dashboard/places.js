// Where VENs are: a plain plot of their coordinates, without a map, since no outlines ship with this service.

import { drawPlaces } from "./charts.js";
import { byId, count, setText } from "./page.js";
import { go } from "./route.js";

let drawn = null;
let listens = false;

/** Draws the VENs that are located; draws again only what has changed. */
export async function showPlaces(vens) {
  const located = vens.filter((ven) => ven.isLocated).map((ven) => ({ ...ven, degrees: ven.location.split(", ").map(Number) }));
  byId("places").hidden = vens.length === 0;
  const place = byId("places-chart");
  place.hidden = located.length === 0;
  const told = `${count(located.length)} of ${count(vens.length)} VENs have a place.`;
  setText(byId("places-caption"), `${told} Degrees of longitude and latitude; there is no map behind them.`);
  const wanted = JSON.stringify(located.map((ven) => [ven.id, ven.location, ven.status]));
  if (wanted === drawn || place.hidden) return;
  drawn = wanted;
  await drawPlaces(place, located);
  place.setAttribute("aria-label", `${told} The list above has them all.`);
  if (!listens) place.on("plotly_click", ({ points: [point] }) => go("vens", point.customdata));
  listens = true;
}

/** Colours have changed. */
export function drawPlacesAgain(vens) {
  drawn = null;
  return showPlaces(vens);
}
