// Uses the TypeScript client of a release: it compiles if the document says what it expects, and runs if the service
// answers so. Prints as JSON what it was answered.
import { connect, type Schemas } from "gridgate-client";

declare const process: { argv: string[] };
declare const console: { log: (text: string) => void };

const gridgate = connect(process.argv[2] ?? "", { key: "of nobody: this service asks for none" });

async function content<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<NonNullable<T>> {
  const { data, error } = await answer;
  if (data === undefined || data === null) throw new Error(JSON.stringify(error));
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

const house = { params: { path: { venId: "house" } } };
const network = await content(gridgate.GET("/api/stats/network"));
const vens = await content(gridgate.GET("/api/vens"));
const summaries = await content(gridgate.GET("/api/vens/summary"));
const history = await content(gridgate.GET("/api/vens/{venId}/history", house));
const circuits = await content(gridgate.GET("/api/vens/{venId}/circuits/history", house));
const known = await content(gridgate.GET("/api/vens/{venId}/events", house));
const start = Date.now() + 3_600_000;
const wish = {
  id: "typescript",
  startTime: new Date(start).toISOString(),
  endTime: new Date(start + 60_000).toISOString(),
  requestedReductionKw: 1.5,
};
const made = await content(gridgate.POST("/api/events", { body: wish }));
if (!("id" in made)) throw new Error("an event was made, not only tried");
const ids = { params: { path: { eventId: made.id } } };
const sentBack = await content(gridgate.PATCH("/api/events/{eventId}", { ...ids, body: made }));
const event = await content(gridgate.GET("/api/events/{eventId}", ids));
const stopping = await content(gridgate.POST("/api/events/{eventId}/stop", ids));
const { data: current = null } = await gridgate.GET("/api/events/current");
const { error: refused } = await gridgate.GET("/api/vens/{venId}", { params: { path: { venId: "nobody" } } });

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
    problem: refused?.status,
  }),
);
