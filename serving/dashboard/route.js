// Which view is shown, of what, and of which time: all of it in the hash, so that a link leads back to it.
//
// `#/events/evt-1?range=24` is the view `events`, the id `evt-1`, and parameters.

import { byId } from "./page.js";

const FIRST = "overview";
const KEPT = ["range", "from", "to", "compare", "generation"];
/** Parameters that all views share. */

const listeners = [];
let shown = null;

/** @returns {{view: string, id: string | null, params: URLSearchParams}} */
export function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, id] = path.split("/", 2);
  return { view: byId(`view-${view}`) ? view : FIRST, id: id ? decodeURIComponent(id) : null, params: new URLSearchParams(query) };
}

/** The hash of a view, with the parameters that all views share. */
export function linkTo(view, id = null, params = {}) {
  const now = route().params;
  const kept = KEPT.filter((name) => now.has(name)).map((name) => [name, now.get(name)]);
  return hashOf(view, id, new URLSearchParams(Object.entries({ ...Object.fromEntries(kept), ...params })));
}

function hashOf(view, id, params) {
  const path = [view === FIRST ? "" : view, ...(id === null ? [] : [encodeURIComponent(id)])].join("/");
  const query = params.toString();
  return `#/${path}${query ? `?${query}` : ""}`;
}

export function go(view, id = null, params = {}) {
  location.hash = linkTo(view, id, params);
}

/** Changes parameters of the present view, in its address; null removes one. No new entry in the history. */
export function setParams(changes) {
  const { view, id, params } = route();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") params.delete(name);
    else params.set(name, value);
  }
  history.replaceState(null, "", hashOf(view, id, params));
  renewLinks();
}

/** @param {(route: {view: string, id: string | null, params: URLSearchParams}) => void} listener called when a view is shown */
export function onRoute(listener) {
  listeners.push(listener);
}

export const isShown = (view, id) => shown !== null && shown.view === view && (id === undefined || shown.id === id);

/** The view of a panel: a list, and one of its entries, take turns. */
function show() {
  const next = route();
  const isOther = shown === null || next.view !== shown.view || next.id !== shown.id;
  const isFirst = shown === null;
  shown = next;
  for (const view of document.querySelectorAll(".view")) {
    view.hidden = view.id !== (next.id === null ? `view-${next.view}` : `view-${next.view}-one`);
  }
  renewLinks();
  for (const listener of listeners) listener(next);
  if (isOther && !isFirst) arrive();
}

/** Whoever uses the keyboard or a screen reader is where the view begins. */
function arrive() {
  const heading = document.querySelector(".view:not([hidden]) h2");
  heading.tabIndex = -1;
  heading.focus();
  scrollTo(0, 0);
}

function renewLinks() {
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    link.href = linkTo(link.dataset.view);
    if (shown?.view === link.dataset.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

export function startRoutes() {
  const old = /^#ven=(.+)$/.exec(location.hash);
  if (old) history.replaceState(null, "", `#/vens/${old[1]}`);
  addEventListener("hashchange", show);
  show();
}
