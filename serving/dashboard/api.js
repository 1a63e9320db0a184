// The one place that asks the server: JSON in and out, problems as errors, a key when it wants one.

/** What the server said when it refused. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let askForKey = () => Promise.reject(new Refused(401, "This needs an API key."));

/** @param {() => Promise<void>} ask opens a session, or rejects */
export function onUnauthorized(ask) {
  askForKey = ask;
}

export const get = (path) => send("GET", path);
export const post = (path, body) => send("POST", path, body);
export const remove = (path) => send("DELETE", path);

async function send(method, path, body) {
  const response = await answer(method, path, body);
  if (response.status === 401) {
    await askForKey();
    return read(await answer(method, path, body));
  }
  return read(response);
}

function answer(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function read(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.detail ?? `The server answered ${response.status}.`);
}

/** Opens a session with a key; the browser keeps it in a cookie that scripts cannot read. */
export async function openSession(key) {
  const headers = { Authorization: `Bearer ${key}` };
  const response = await fetch("/api/session", { method: "POST", headers });
  if (!response.ok) await read(response);
}
