// Asks for an API key when the server wants one, once for all requests that wait; who is logged in, and log out.

import { get, onUnauthorized, openSession, Refused, remove } from "./api.js";
import { byId, element, setText } from "./page.js";
import { moment } from "./times.js";

const dialog = byId("login");
const form = byId("login-form");
let asking = null;

export function startLogin() {
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  onUnauthorized(() => (asking ??= ask().finally(() => (asking = null))));
}

function ask() {
  dialog.showModal();
  return new Promise((done) => {
    form.onsubmit = async (submitted) => {
      submitted.preventDefault();
      try {
        await openSession(form.elements.key.value.trim());
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        setText(byId("login-message"), error.message);
        return;
      }
      form.reset();
      setText(byId("login-message"), "");
      dialog.close();
      done();
    };
  });
}

/** Who is logged in, and until when. Without keys nobody logs in, or out. */
export async function showSession() {
  const session = await get("/api/session");
  const until = session.expiresAt === null ? "" : `, until ${moment(session.expiresAt)}`;
  const leave = session.expiresAt === null ? [] : [element("button", { type: "button", class: "quiet", onclick: logOut }, "Log out")];
  byId("session").replaceChildren(element("span", { title: `Logged in${until}` }, `${session.name} (${session.role})`), ...leave);
}

async function logOut() {
  await remove("/api/session");
  location.reload();
}
