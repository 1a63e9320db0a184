// The baseline by which events are measured: the first of those that settlements compute.

import { get } from "./api.js";

let primary = null;

/** Its name; a neutral text until the server has sent it. */
export const baselineName = () => primary ?? "the baseline";

export async function refreshBaseline() {
  if (primary === null) primary = (await get("/api/baselines")).find((each) => each.isPrimary)?.name ?? null;
}
