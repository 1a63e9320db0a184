// Fields of forms that are made of descriptions, and their values as the API wants them.

import { element } from "./page.js";
import { fromWallTime, inputTime } from "./times.js";

/**
 * @param {{name: string, label: string, kind?: "text"|"number"|"time"|"words"|"choice"|"choices"|"check", value?: any,
 *   isRequired?: boolean, hint?: string, min?: number, max?: number, options?: [string, string][]}} description
 */
export function field(description) {
  const { label, hint, kind } = description;
  const title = hint ? [label, " ", element("span", { class: "hint" }, `(${hint})`)] : [label];
  if (kind === "check") return element("label", { class: "check" }, input(description), ...title);
  return element("label", {}, element("span", {}, ...title), input(description));
}

function input({ name, kind = "text", value, isRequired, min, max, options = [] }) {
  const shared = { name, required: isRequired };
  switch (kind) {
    case "number": return element("input", { ...shared, type: "number", step: "any", inputmode: "decimal", value, min, max });
    case "time": return element("input", { ...shared, type: "datetime-local", value: value == null ? null : inputTime(Date.parse(value)) });
    case "words": return element("input", { ...shared, type: "text", value: (value ?? []).join(", "), autocomplete: "off" });
    case "check": return element("input", { name, type: "checkbox", checked: Boolean(value) });
    case "choice": return select(shared, options, (key) => key === value);
    case "choices": return select({ ...shared, multiple: true, size: Math.min(5, Math.max(2, options.length)) }, options, (key) => (value ?? []).includes(key));
    default: return element("input", { ...shared, type: "text", value, autocomplete: "off" });
  }
}

function select(attributes, options, isChosen) {
  return element("select", attributes, ...options.map(([key, title]) => element("option", { value: key, selected: isChosen(key) }, title)));
}

/** The values by name; what is left empty is null. Times are ISO, in UTC. */
export function valuesOf(form, fields) {
  return Object.fromEntries(fields.map((description) => [description.name, valueOf(form.elements[description.name], description.kind)]));
}

function valueOf(place, kind) {
  const text = kind === "check" ? "" : place.value.trim();
  switch (kind) {
    case "check": return place.checked;
    case "choices": return [...place.selectedOptions].map((option) => option.value);
    case "words": return text.split(",").map((word) => word.trim()).filter(Boolean);
    case "number": return text === "" ? null : Number(text);
    case "time": return text === "" ? null : new Date(fromWallTime(text)).toISOString();
    default: return text === "" ? null : text;
  }
}
