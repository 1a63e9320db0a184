// The range of time that all charts share: chosen, entered, or zoomed to; it stands in the address.

import { choices, element } from "./page.js";
import { onRoute, route, setParams } from "./route.js";
import { daysBefore, fromWallTime, inputTime, LANGUAGES, midnight, ZONE } from "./times.js";

const HOUR_MS = 3_600_000;
const SHORTEST_MS = 15 * 60_000;
const FIRST = "24";
const RANGES = [
  ["3", "3 h"], ["24", "24 h"], ["today", "today"], ["yesterday", "yesterday"], ["168", "7 days"], ["720", "30 days"], ["8760", "a year"],
];
const COMPARED = { day: 1, week: 7 };
const NAMES = ["range", "from", "to", "compare", "generation"];

const listeners = [];
const pickers = [];

const param = (name) => route().params.get(name);
const inMs = (name) => Date.parse(param(name) ?? "");

/** Whether people have entered or zoomed to a range, which does not move on with time. */
export const isFree = () => inMs("from") < inMs("to");

/** The key of the range that is chosen; null for a free one. */
const chosenKey = () => (isFree() ? null : RANGES.some(([key]) => key === param("range")) ? param("range") : FIRST);

/** @returns {[number, number]} start and end, ms */
export function range(now = Date.now()) {
  if (isFree()) return [inMs("from"), inMs("to")];
  const key = chosenKey();
  if (key === "today") return [midnight(now), now];
  if (key === "yesterday") return [daysBefore(midnight(now), 1), midnight(now) - 1];
  return [now - key * HOUR_MS, now];
}

/** With how many days before the range is compared; 0 for none. */
export const comparedDays = () => COMPARED[param("compare")] ?? 0;

export const isGenerationShown = () => param("generation") === "1";

const choose = (key) => change({ range: key, from: null, to: null });

/** Back from a free range to the one that was chosen before. */
export const endFreeRange = () => change({ from: null, to: null });

/** Zooms; no range is shorter than a few slots. */
export function zoomTo(from, to) {
  const middle = (from + to) / 2;
  const [start, end] = to - from < SHORTEST_MS ? [middle - SHORTEST_MS / 2, middle + SHORTEST_MS / 2] : [from, to];
  change({ from: new Date(start).toISOString(), to: new Date(end).toISOString() });
}

function change(params) {
  setParams(params);
  tell();
}

/** Called when another range is chosen, or what is beside it. */
export function onRange(listener) {
  listeners.push(listener);
}

let before = null;

function tell() {
  before = NAMES.map(param).join();
  for (const picker of pickers) picker.show();
  for (const listener of listeners) listener();
}

onRoute(() => {
  if (before !== NAMES.map(param).join()) tell();
});

const between = new Intl.DateTimeFormat(LANGUAGES, { timeZone: ZONE, dateStyle: "medium", timeStyle: "short" });
export const describeRange = ([start, end]) => `${between.formatRange(start, end)} (${ZONE})`;

/** Buttons, inputs and choices for the range; every chart has them, and all show the same. */
export class RangePicker {
  constructor(place, { hasGeneration = false } = {}) {
    const buttons = element("div", { class: "choices", role: "group", "aria-label": "Range" });
    this.press = choices(buttons, RANGES, choose);
    this.from = element("input", { type: "datetime-local", required: true });
    this.to = element("input", { type: "datetime-local", required: true });
    this.compare = element("select", { onchange: () => change({ compare: this.compare.value }) },
      ...[["", "nothing"], ["day", "the day before"], ["week", "the week before"]].map(([key, title]) => element("option", { value: key }, title)));
    this.generation = element("input", { type: "checkbox", onchange: () => change({ generation: this.generation.checked ? "1" : null }) });
    place.classList.remove("choices");
    place.removeAttribute("role");
    place.removeAttribute("aria-label");
    place.replaceChildren(buttons, this.form(), ...(hasGeneration ? [element("label", { class: "check" }, this.generation, "Generation beside consumption")] : []));
    pickers.push(this);
    this.show();
  }

  form() {
    const submit = (submitted) => {
      submitted.preventDefault();
      zoomTo(fromWallTime(this.from.value), fromWallTime(this.to.value));
    };
    return element("form", { class: "inline", "aria-label": "Free range", onsubmit: submit },
      element("label", {}, "From", this.from), element("label", {}, "To", this.to), element("button", { type: "submit", class: "quiet" }, "Show"),
      element("label", {}, "Compare with", this.compare));
  }

  show() {
    this.press(chosenKey());
    const [start, end] = range();
    if (!this.from.matches(":focus") && !this.to.matches(":focus")) {
      this.from.value = inputTime(start);
      this.to.value = inputTime(end);
    }
    this.compare.value = param("compare") ?? "";
    this.generation.checked = isGenerationShown();
  }
}
