// A client with the types of docs/backend-api.yaml: it compiles if the document says what it expects, and runs if
// the service answers so. Prints as JSON what it was answered.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
declare const console: { log: (text: string) => void };
type Schemas = components["schemas"];

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

function answered<T>({ data, error }: { data?: T; error?: Schemas["Problem"] }): T {
  if (error !== undefined || data === undefined) throw new Error(error?.detail ?? "no answer");
  return data;
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

const network = answered(await client.GET("/api/stats/network"));
const vens = answered(await client.GET("/api/vens"));
const summaries = answered(await client.GET("/api/vens/summary"));
const path = { venId: "house" };
const history = answered(await client.GET("/api/vens/{venId}/history", { params: { path, query: { granularity: "1m" } } }));
const circuits = answered(await client.GET("/api/vens/{venId}/circuits/history", { params: { path } }));
const known = answered(await client.GET("/api/vens/{venId}/events", { params: { path } }));
const start = Date.now() + 3_600_000;
const made = answered(
  await client.POST("/api/events", {
    body: {
      id: "typescript",
      startTime: new Date(start).toISOString(),
      endTime: new Date(start + 60_000).toISOString(),
      requestedReductionKw: 1.5,
    },
  }),
);
const params = { path: { eventId: made.id } };
const sentBack = answered(await client.PATCH("/api/events/{eventId}", { params, body: { ...made } }));
const event = answered(await client.GET("/api/events/{eventId}", { params }));
const stopping = answered(await client.POST("/api/events/{eventId}/stop", { params }));
const current = answered(await client.GET("/api/events/current"));
const refused = await client.GET("/api/vens/{venId}", { params: { path: { venId: "nobody" } } });

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
    problem: refused.error?.status,
  }),
);
