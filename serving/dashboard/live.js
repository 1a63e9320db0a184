// The stream of what happens, and whether the server answers.

import { isKeyWanted, Refused } from "./api.js";
import { byId, setText } from "./page.js";

const WORDS = { connecting: "connecting", live: "live", away: "not answering" };
let isOpen = false;
let isFailing = false;

/**
 * Listens to the stream.
 * @param {Record<string, (data: any) => void>} handlers by the name of the event
 * @param {() => void} whenBack called at each beginning, as much may have been missed
 */
export function listen(handlers, whenBack) {
  const stream = new EventSource("/api/stream");
  stream.addEventListener("open", () => {
    isOpen = true;
    isFailing = false;
    tell();
    whenBack();
  });
  stream.addEventListener("error", () => {
    isOpen = false;
    failed();
    // The browser tries again by itself, unless the server refused.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => listen(handlers, whenBack), 5000);
  });
  for (const [name, handle] of Object.entries(handlers)) {
    stream.addEventListener(name, (message) => handle(JSON.parse(message.data)));
  }
}

/** A request was not answered. */
export function failed() {
  isFailing = true;
  tell();
}

/** A request was answered. */
export function succeeded() {
  isFailing = false;
  tell();
}

function tell() {
  const state = isFailing ? "away" : isOpen ? "live" : "connecting";
  const place = byId("connection");
  place.dataset.state = state;
  setText(place, WORDS[state]);
}

/** Runs something every so often while the page is looked at, one run at a time, and not while a key is wanted. */
export function every(seconds, does) {
  let isRunning = false;
  setInterval(async () => {
    if (document.hidden || isRunning || isKeyWanted()) return;
    isRunning = true;
    await attempt(does).finally(() => (isRunning = false));
  }, seconds * 1000);
}

/** Runs something that asks the server; that it does not answer shows in the header. */
export async function attempt(does) {
  try {
    await does();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed();
  }
}
