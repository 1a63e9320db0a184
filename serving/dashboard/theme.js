// Light or dark: as the system has it, until somebody chooses.

import { byId } from "./page.js";

const KEY = "gridgate-theme";
const root = document.documentElement;
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];

const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);

/** Called whenever colours change. */
export function onTheme(listener) {
  listeners.push(listener);
}

/** A colour of the style sheet, as the theme has it now. */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function show() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  for (const listener of listeners) listener();
}

export function startTheme() {
  const chosen = localStorage.getItem(KEY);
  if (chosen) root.dataset.theme = chosen;
  startPrinting();
  systemIsDark.addEventListener("change", show);
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem(KEY, root.dataset.theme);
    show();
  });
  show();
}

/** Paper is light, whatever the screen is. */
function startPrinting() {
  addEventListener("beforeprint", () => wear("light"));
  addEventListener("afterprint", () => wear(localStorage.getItem(KEY)));
}

function wear(theme) {
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  show();
}
