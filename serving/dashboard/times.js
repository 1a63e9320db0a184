// Times in the site's time zone, in the language of the browser.

export const LANGUAGES = navigator.languages;

/** The zone in which all times are shown and entered: that of the site, `TIME_ZONE`. */
export const ZONE = document.documentElement.dataset.timeZone;

const format = (options) => new Intl.DateTimeFormat(LANGUAGES, { timeZone: ZONE, ...options });
const minutes = format({ dateStyle: "medium", timeStyle: "short" });
const seconds = format({ dateStyle: "medium", timeStyle: "medium" });
const clock = format({ timeStyle: "medium" });

const shown = (one, iso) => (iso == null ? "–" : one.format(new Date(iso)));
export const moment = (iso) => shown(minutes, iso);
export const exactMoment = (iso) => shown(seconds, iso);
export const clockTime = (iso) => shown(clock, iso);

const inZone = new Intl.DateTimeFormat("en", {
  timeZone: ZONE, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
});
const QUARTER_MS = 900_000;
const offsets = new Map();

/** How far clocks at the site are ahead of UTC. Zones change on quarters of an hour. */
function offsetMs(ms) {
  const quarter = Math.floor(ms / QUARTER_MS);
  if (!offsets.has(quarter)) offsets.set(quarter, computedOffsetMs(quarter * QUARTER_MS));
  return offsets.get(quarter);
}

function computedOffsetMs(ms) {
  const part = Object.fromEntries(inZone.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - ms;
}

/** Plotly knows no zones: it is given what a clock at the site shows, as if that were UTC. */
export const wallTime = (ms) => new Date(ms + offsetMs(ms)).toISOString().slice(0, -1);

/** The way back, for what Plotly says of a zoom, and for inputs of date and time. */
export function fromWallTime(text) {
  const wall = Date.parse(`${String(text).replace(" ", "T").replace("Z", "")}Z`);
  return wall - offsetMs(wall - offsetMs(wall));
}

const DAY_MS = 86_400_000;

/** The same time of day so many days earlier, at the site. */
export const daysBefore = (ms, days) => fromWallTime(new Date(Date.parse(`${wallTime(ms)}Z`) - days * DAY_MS).toISOString());

/** The midnight with which the day of an instant begins, at the site. */
export const midnight = (ms) => fromWallTime(`${wallTime(ms).slice(0, 10)}T00:00:00`);

/** The value of an input of date and time. */
export const inputTime = (ms) => wallTime(ms).slice(0, 16);

/** How long ago, in the largest unit that fits. */
export function ago(iso, now = Date.now()) {
  return iso == null ? "never" : `${duration(Math.max(0, (now - Date.parse(iso)) / 1000))} ago`;
}

const UNITS = [[86_400, "d"], [3600, "h"], [60, "min"]];

export function duration(wholeS) {
  const [size, unit] = UNITS.find(([size]) => wholeS >= size) ?? [1, "s"];
  return `${Math.floor(wholeS / size)} ${unit}`;
}
