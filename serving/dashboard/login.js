// Asks for an API key when the server wants one, once for all requests that wait.

import { onUnauthorized, openSession } from "./api.js";
import { byId } from "./page.js";

const dialog = byId("login");
const form = byId("login-form");
let asking = null;

export function startLogin() {
  onUnauthorized(() => (asking ??= ask().finally(() => (asking = null))));
}

function ask() {
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((done) => {
    form.onsubmit = async (submitted) => {
      submitted.preventDefault();
      try {
        await openSession(form.elements.key.value.trim());
      } catch (error) {
        byId("login-message").textContent = error.message;
        return;
      }
      form.reset();
      byId("login-message").textContent = "";
      dialog.close();
      done();
    };
  });
}
