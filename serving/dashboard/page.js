// Small tools for the page: elements, numbers, tables.

import { LANGUAGES } from "./times.js";

export { ago, fromWallTime, moment, wallTime, ZONE } from "./times.js";

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text stays text, whatever a VEN calls itself. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const formats = [0, 1, 2].map(
  (digits) => new Intl.NumberFormat(LANGUAGES, { minimumFractionDigits: digits, maximumFractionDigits: digits }),
);

/** A power or an energy with as many decimals as it deserves; a dash where nothing is known. */
export function number(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  return formats[size >= 1000 ? 0 : size >= 100 ? 1 : 2].format(value);
}

/** A whole number, such as how many VENs there are. */
export const count = (value) => formats[0].format(value);

/** The source of a power or an energy: a meter (and what is computed of it), or a statement of the VEN. */
export const MEASURED = "measured";
export const REPORTED = "reported by VENs";

export const withSource = (title, source) => (source ? `${title} (${source})` : title);

/** Replaces the text of an element if it is another one. */
export function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export const time = (iso, text) => element("time", { datetime: iso ?? "" }, text);

export const statusMark = (status) => element("span", { class: "status", "data-status": status }, status);

/** A list of terms and their values. */
export function facts(pairs) {
  return pairs.map(([title, value]) => element("div", {}, element("dt", {}, title), element("dd", {}, value)));
}

/** Shows facts in a list; those that have not changed stay the same elements. */
export function showFacts(place, pairs) {
  const isSame = pairs.length === place.children.length && pairs.every(([title], at) => place.children[at].firstChild.textContent === title);
  if (!isSame) place.replaceChildren(...facts(pairs));
  else pairs.forEach(([, value], at) => showFact(place.children[at].lastChild, value));
}

function showFact(place, value) {
  if (place.textContent !== (value.textContent ?? value)) place.replaceChildren(value);
}

/** @param {{title: string, cell: (row: object) => any, isNumber?: boolean}[]} columns */
export function table(columns, rows, caption) {
  const kind = (column) => (column.isNumber ? { class: "number" } : {});
  return element(
    "table",
    {},
    element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...columns.map((c) => element("th", { scope: "col", ...kind(c) }, c.title)))),
    element(
      "tbody",
      {},
      ...rows.map((row) => Object.assign(element("tr", {}, ...columns.map((c) => element("td", kind(c), c.cell(row)))), { rowText: JSON.stringify(row) })),
    ),
  );
}

/** A table in a place, or why it is empty; what has not changed is not drawn again, and what was unfolded stays so. */
export function showTable(place, columns, rows, caption, empty) {
  const wanted = JSON.stringify(rows);
  if (place.drawnRows === wanted && place.firstChild) return;
  place.drawnRows = wanted;
  const focused = placeOfFocus(place);
  const opened = new Set([...place.querySelectorAll("tr:has(details[open])")].map((line) => line.rowText));
  place.replaceChildren(rows.length ? table(columns, rows, caption) : element("p", {}, empty));
  const lines = [...(place.querySelector("tbody")?.rows ?? [])];
  for (const line of lines) if (opened.has(line.rowText)) for (const folded of line.querySelectorAll("details")) folded.open = true;
  if (focused) (lines.find((line) => line.rowText === focused.key) ?? lines[focused.row])?.cells[focused.cell]?.querySelectorAll(FOCUSABLE)[focused.nth]?.focus();
}

const FOCUSABLE = "button, a, input, summary";

/** Where in a table somebody is with the keyboard, to be there again in the next one. */
function placeOfFocus(place) {
  const cell = place.contains(document.activeElement) ? document.activeElement.closest("td") : null;
  return cell && { key: cell.parentElement.rowText, row: cell.parentElement.sectionRowIndex, cell: cell.cellIndex, nth: [...cell.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement) };
}

/** Buttons of which one is pressed; answers a function that presses one by its key. */
export function choices(place, options, onChoice) {
  const buttons = new Map();
  const press = (key) => {
    for (const [other, button] of buttons) button.setAttribute("aria-pressed", String(other === key));
  };
  for (const [key, label] of options) {
    const choose = () => {
      press(key);
      onChoice(key);
    };
    buttons.set(key, element("button", { type: "button", "aria-pressed": "false", onclick: choose }, label));
  }
  place.replaceChildren(...buttons.values());
  return press;
}

/** Tables that are wider than their place say so: on a phone nothing else shows it. */
export function markScrolling() {
  for (const place of document.querySelectorAll(".view:not([hidden]) .scroll")) {
    place.classList.toggle("scrolls-sideways", place.scrollWidth > place.clientWidth + 1);
  }
}
