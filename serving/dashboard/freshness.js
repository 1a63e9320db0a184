// How old the totals are: an answer may be quick, and tell of a minute ago, when the jobs are late.

import { get, Refused } from "./api.js";
import { duration } from "./times.js";

const OLD_AFTER_S = 20;

/** Has panels say that the totals in them are old, or that the service is not ready. */
export async function checkTotals(panels) {
  const doubt = await doubtOfTotals();
  for (const panel of panels) panel.setDoubt(doubt);
}

async function doubtOfTotals() {
  try {
    const { lastRollupAgeS } = await get("/health/db-check");
    return lastRollupAgeS !== null && lastRollupAgeS > OLD_AFTER_S ? `The jobs are late: totals are ${duration(lastRollupAgeS)} old.` : null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error.status === 503 ? error.message : null; // whoever may not ask that learns nothing from it
  }
}
