// The baseline by which events are measured: the first of those that settlements compute.

import { get } from "./api.js";

let primary = null;

/** Its name; until the server has told it, words that claim nothing. */
export const baselineName = () => primary ?? "the baseline";

export async function refreshBaseline() {
  if (primary === null) primary = (await get("/api/baselines")).find((each) => each.isPrimary)?.name ?? null;
}
