// Where VENs are: a plain plot of their coordinates, without a map (docs/decisions/0065).

import { drawPlaces } from "./charts.js";
import { byId, count, setText } from "./page.js";
import { go } from "./route.js";

const STATUSES_EVERY_MS = 10_000;
const MANY = 500;
let drawn = null;
let listens = false;

/** Draws the VENs that are located; draws again only what has changed; of many the statuses only every so often. */
export async function showPlaces(vens) {
  const located = vens.filter((ven) => ven.isLocated);
  byId("places").hidden = vens.length === 0;
  const place = byId("places-chart");
  place.hidden = located.length === 0;
  const summary = `${count(located.length)} of ${count(vens.length)} VENs have a place.`;
  setText(byId("places-caption"), `${summary} Degrees of longitude and latitude; there is no map behind them.`);
  if (place.hidden || isDrawn(located)) return;
  drawn = { at: Date.now(), places: located.map((ven) => [ven.id, ven.location, ven.status]) };
  await drawPlaces(place, located.map((ven) => ({ ...ven, degrees: ven.location.split(", ").map(Number) })));
  place.setAttribute("aria-label", `${summary} The list above has them all.`);
  if (!listens) place.on("plotly_click", ({ points: [point] }) => go("vens", point.customdata));
  listens = true;
}

function isDrawn(located) {
  if (drawn === null || drawn.places.length !== located.length) return false;
  const isSame = (ven, [id, location, status], hasStatus) => ven.id === id && ven.location === location && (!hasStatus || ven.status === status);
  const needsStatuses = located.length <= MANY || Date.now() - drawn.at > STATUSES_EVERY_MS;
  return located.every((ven, at) => isSame(ven, drawn.places[at], needsStatuses));
}

/** Colours have changed. */
export function drawPlacesAgain(vens) {
  drawn = null;
  return showPlaces(vens);
}
