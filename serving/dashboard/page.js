// Small tools for the page: elements, numbers, times, tables.

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
  (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
);

/** A power or an energy with as many decimals as it deserves; a dash where nothing is known. */
export function number(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  return formats[size >= 1000 ? 0 : size >= 100 ? 1 : 2].format(value);
}

/** The zone in which all times are shown: the browser's. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Plotly knows no zones: it is told what a clock on the wall shows, as if that were UTC. */
export const wallTime = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, -1);

/** The way back, for what Plotly says of a zoom. */
export const fromWallTime = (text) => Date.parse(String(text).replace(" ", "T"));

const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

export const moment = (iso) => (iso == null ? "–" : clock.format(new Date(iso)));

/** The source of a power or an energy: a meter (and what is computed of it), or a statement of the VEN. */
export const MEASURED = "measured";
export const REPORTED = "reported by VENs";

export const withSource = (title, source) => (source ? `${title} (${source})` : title);

/** How long ago, in the largest unit that fits. */
export function ago(iso, now = Date.now()) {
  if (iso == null) return "never";
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit} ago`;
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
      ...rows.map((row) => element("tr", {}, ...columns.map((c) => element("td", kind(c), c.cell(row))))),
    ),
  );
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
