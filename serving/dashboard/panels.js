// How much a panel knows: nothing yet, the present, or how it was at its last answer; and why.

import { isKeyWanted, Refused } from "./api.js";
import { failed, succeeded } from "./live.js";
import { element, setText } from "./page.js";
import { clockTime } from "./times.js";

const panels = new Set();
const SHORTEST_MS = 30_000;

/** A section of the page whose content comes from the server, and is asked for again and again. */
export class Panel {
  /**
   * @param {Element} section it has a heading; what it has of the server is in elements of the class `answer`
   * @param {number} everyS how often it is asked for
   * @param {() => void} onChange called when it knows more, or less
   */
  constructor(section, everyS, onChange = () => {}) {
    this.section = section;
    this.oldAfterMs = Math.max(SHORTEST_MS, 3000 * everyS);
    this.onChange = onChange;
    this.line = element("p", { class: "state" });
    section.querySelector("h2, h3").after(this.line);
    section.dataset.state = "waiting";
    this.forget();
    panels.add(this);
  }

  /** What was shown is of something else now. */
  forget() {
    this.answeredAt = null;
    this.reason = null;
    this.doubt = null;
    this.asked = (this.asked ?? 0) + 1;
    this.draw();
  }

  /**
   * Runs what asks the server and shows its answer; a refusal becomes the panel's reason.
   * @param {() => Promise<unknown>} does false if its answer is not shown: the panel knows no more than before
   */
  async ask(does) {
    const asked = this.asked;
    try {
      const isShown = await does();
      succeeded();
      if (isShown === false || asked !== this.asked) return;
      this.answeredAt = Date.now();
      this.reason = null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.isOutage) failed();
      if (asked === this.asked) this.reason = error.message;
    }
    this.draw();
  }

  /** The answer is right, but of totals that are too old: why, or null. */
  setDoubt(doubt) {
    this.doubt = doubt;
    this.draw();
  }

  get state() {
    if (this.answeredAt === null) return isKeyWanted() || this.reason === null ? "waiting" : "unknown";
    const isOld = Date.now() - this.answeredAt > this.oldAfterMs;
    return isOld || isKeyWanted() || this.reason !== null || this.doubt !== null ? "old" : "fresh";
  }

  get isFresh() {
    return this.state === "fresh";
  }

  /** Since when it is not known, for what stands in an old panel. */
  get asOf() {
    return clockTime(this.answeredAt);
  }

  describe() {
    const reason = isKeyWanted() ? "An API key is needed." : (this.reason ?? this.doubt ?? "The server has not answered since.");
    switch (this.state) {
      case "fresh": return "";
      case "old": return `As of ${this.asOf}, and not known since: ${reason}`;
      case "unknown": return `Not known: ${reason}`;
      default: return isKeyWanted() ? `Not known: ${reason}` : "Not known yet: waiting for the first answer.";
    }
  }

  draw() {
    setText(this.line, this.describe());
    if (this.section.dataset.state === this.state) return;
    this.section.dataset.state = this.state;
    this.onChange();
  }
}

setInterval(() => {
  for (const panel of panels) panel.draw();
}, 1000);
