// The one place that asks the server: JSON in and out, problems as errors, a key when it wants one.

const LONGEST_MS = 30_000;
const JSON_TYPE = "application/json";
const CSV = "text/csv";

/** Why a request failed: the server's message, or that it is unreachable (status 0). */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** Whether the same request may succeed later, with nothing changed by people. */
  get isOutage() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

let askForKey = () => Promise.reject(new Refused(401, "This needs an API key."));
let requestsWithoutKey = 0;

/** @param {() => Promise<void>} ask opens a session, or rejects */
export function onUnauthorized(ask) {
  askForKey = ask;
}

/** Whether requests wait for somebody to enter a key. */
export const isKeyWanted = () => requestsWithoutKey > 0;

export const get = async (path) => (await send("GET", path)).body;
export const post = async (path, body) => (await send("POST", path, body)).body;
export const postCsv = async (path, text) => (await send("POST", path, text, CSV)).body;
export const patch = async (path, body) => (await send("PATCH", path, body)).body;
export const remove = async (path) => (await send("DELETE", path)).body;

/** A page of a list, and the path of the next one, or null. */
export async function getPage(path) {
  const { body, headers } = await send("GET", path);
  const next = /<([^>]+)>; rel="next"/.exec(headers.get("Link") ?? "");
  return { entries: body, next: next && next[1] };
}

async function send(method, path, body, type = JSON_TYPE) {
  const response = await answer(method, path, body, type);
  if (response.status !== 401) return read(response);
  requestsWithoutKey += 1;
  try {
    await askForKey();
  } finally {
    requestsWithoutKey -= 1;
  }
  return read(await answer(method, path, body, type));
}

async function answer(method, path, body, type) {
  const headers = { Accept: JSON_TYPE };
  if (body !== undefined) headers["Content-Type"] = type;
  const sent = type === JSON_TYPE && body !== undefined ? JSON.stringify(body) : body;
  try {
    return await fetch(path, { method, headers, body: sent, signal: AbortSignal.timeout(LONGEST_MS) });
  } catch (error) {
    throw unanswered(error);
  }
}

function unanswered(error) {
  if (error.name === "TimeoutError") return new Refused(0, `The server has not answered within ${LONGEST_MS / 1000} s.`);
  return new Refused(0, "The server cannot be reached.");
}

async function read(response) {
  if (!response.ok) throw await refusal(response);
  try {
    return { body: response.status === 204 ? null : await response.json(), headers: response.headers };
  } catch {
    throw new Refused(0, "The answer of the server broke off.");
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(response.status, problem.detail ?? `The server answered ${response.status}.`);
}

/** Opens a session with a key; the browser keeps it in a cookie that scripts cannot read. */
export async function openSession(key) {
  const response = await fetch("/api/session", { method: "POST", headers: { Authorization: `Bearer ${key}` } }).catch((error) => {
    throw unanswered(error);
  });
  if (!response.ok) throw await refusal(response);
}
