// A client with the types of docs/backend-api.yaml: it compiles if the document says what it expects, and runs if
// the service answers so. Prints as JSON what it was answered.
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
declare const console: { log: (text: string) => void };
type Schemas = components["schemas"];
type Method = "get" | "post" | "patch";
type Json<T> = T extends { content: { "application/json": infer Content } } ? Content : never;
// What was created, where something is; a dry run answers 200 on the same path.
type Success<Responses> = Responses extends { 201: infer Created }
  ? Json<Created>
  : Json<Responses[Extract<keyof Responses, 200 | 202>]>;
type Answer<P extends keyof paths, M extends Method> = paths[P][M] extends { responses: infer Responses }
  ? Success<Responses>
  : never;
type Body<P extends keyof paths, M extends Method> = paths[P][M] extends { requestBody: infer Content }
  ? Json<Content>
  : undefined;

async function send(method: Method, path: string, ids: Record<string, string>, body?: unknown): Promise<Response> {
  const address = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(ids[name] ?? ""));
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const headers = { "Content-Type": "application/json" };
  return fetch((process.argv[2] ?? "") + address, { method: method.toUpperCase(), headers, ...content });
}

async function get<P extends keyof paths>(path: P, ids: Record<string, string> = {}): Promise<Answer<P, "get">> {
  return (await send("get", path, ids)).json();
}

async function change<P extends keyof paths, M extends "post" | "patch">(
  method: M,
  path: P,
  ids: Record<string, string>,
  body: Body<P, M>,
): Promise<Answer<P, M>> {
  const response = await send(method, path, ids, body);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

// Plain types: a null where a number or a word is expected would not compile.
function numbersOf(ven: Schemas["Ven"]): number[] {
  return [ven.location.lat, ven.location.lon, ven.metrics.currentPowerKw, ven.metrics.shedAvailabilityKw];
}
function wordsOf(load: Schemas["Load"]): string[] {
  return [load.id, load.name, load.type];
}
function progressOf(event: Schemas["EventDetail"]): number {
  return event.currentReductionKw + event.actualReductionKw + event.vens.reduce((sum, ven) => sum + ven.shedKw, 0);
}

const house = { venId: "house" };
const network = await get("/api/stats/network");
const vens = await get("/api/vens");
const summaries = await get("/api/vens/summary");
const history = await get("/api/vens/{venId}/history", house);
const circuits = await get("/api/vens/{venId}/circuits/history", house);
const known = await get("/api/vens/{venId}/events", house);
const start = Date.now() + 3_600_000;
const wish = {
  id: "typescript",
  startTime: new Date(start).toISOString(),
  endTime: new Date(start + 60_000).toISOString(),
  requestedReductionKw: 1.5,
};
const made = await change("post", "/api/events", {}, wish);
if (!("id" in made)) throw new Error("An event was made, not only tried.");
const ids = { eventId: made.id };
const sentBack = await change("patch", "/api/events/{eventId}", ids, made);
const event = await get("/api/events/{eventId}", ids);
const stopping = await change("post", "/api/events/{eventId}/stop", ids, undefined);
const current = await get("/api/events/current");
const refused: Schemas["Problem"] = await (await send("get", "/api/vens/{venId}", { venId: "nobody" })).json();

console.log(
  JSON.stringify({
    venCount: network.venCount,
    numbers: vens.map(numbersOf),
    words: vens.flatMap((ven) => ven.loads.map(wordsOf)),
    responseTimes: summaries.map((each) => each.responseTime),
    points: history.points.length,
    circuits: circuits.totalCount,
    curtailed: known.flatMap((each) => each.circuitsCurtailed.map((circuit) => Object.keys(circuit))),
    notes: made.notes.map((note) => [note.reason, note.vens]),
    isSame: JSON.stringify(sentBack) === JSON.stringify(made),
    progress: progressOf(event),
    stopping: stopping.status,
    current: current === null ? null : current.id,
    problem: refused.status,
  }),
);
