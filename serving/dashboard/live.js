// The stream of what happens; and, while it is away, somebody who asks now and then.

import { byId } from "./page.js";

const WORDS = { live: "live", away: "reconnecting", polling: "asking now and then" };

/**
 * Listens to the stream.
 * @param {Record<string, (data: any) => void>} handlers by the name of the event
 * @param {() => void} whenBack called at each beginning, as much may have been missed
 */
export function listen(handlers, whenBack) {
  const stream = new EventSource("/api/stream");
  stream.addEventListener("open", () => {
    tell("live");
    whenBack();
  });
  stream.addEventListener("error", () => {
    tell("away");
    // The browser tries again by itself, unless the server refused.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => listen(handlers, whenBack), 5000);
  });
  for (const [name, handle] of Object.entries(handlers)) {
    stream.addEventListener(name, (message) => handle(JSON.parse(message.data)));
  }
}

export function tell(state) {
  const place = byId("connection");
  if (place.dataset.state === state) return;
  place.dataset.state = state;
  place.textContent = WORDS[state];
}

export const isLive = () => byId("connection").dataset.state === "live";

/** Runs something every so often while the page is looked at; what fails is tried again next time. */
export function every(seconds, does) {
  setInterval(() => {
    if (!document.hidden) attempt(does);
  }, seconds * 1000);
}

/** Runs something; a server that is away shows in the header and nowhere else. */
export async function attempt(does) {
  try {
    await does();
  } catch (error) {
    if (!(error instanceof TypeError) && !(error.status >= 500)) throw error;
    tell("away");
  }
}
