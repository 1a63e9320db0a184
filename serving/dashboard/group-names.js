// Groups as the server has them, and their names for what knows only their ids.

import { get } from "./api.js";

const names = new Map();

export async function readGroups() {
  const groups = await get("/api/groups");
  names.clear();
  for (const group of groups) names.set(group.id, group.name);
  return groups;
}

/** The name of a group; its id where it is not known, or is gone. */
export const groupName = (id) => names.get(id) ?? id;
