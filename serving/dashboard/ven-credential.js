// How one VEN logs in to the broker: its password is made, rotated and revoked here, and shown once.

import { get, post, Refused, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, element, facts, setText, showFacts, time } from "./page.js";
import { Panel } from "./panels.js";
import { exactMoment } from "./times.js";

const STATUSES = {
  pending: "pending: the broker does not have the password yet", active: "active", revoking: "revoking: the broker has not confirmed it yet", revoked: "revoked: the broker does not let it in",
};

export class VenCredential {
  constructor() {
    this.panel = new Panel(byId("ven-credential"), 10);
    byId("ven-credential-make").addEventListener("click", () => this.make());
    byId("ven-credential-rotate").addEventListener("click", () => this.rotate());
    byId("ven-credential-revoke").addEventListener("click", () => this.revoke());
  }

  forget(path) {
    this.path = `${path}/credential`;
    this.panel.forget();
  }

  refresh() {
    const path = this.path;
    return this.panel.ask(async () => {
      const credential = await credentialOrNull(path);
      if (path === this.path) this.show(credential);
    });
  }

  show(credential) {
    setText(byId("ven-credential-none"), credential === null ? "It has no password from here." : "");
    showFacts(byId("ven-credential-facts"), credential === null ? [] : factsOf(credential));
    const isEnabled = credential !== null && ["pending", "active"].includes(credential.status);
    const hadFocus = byId("ven-credential").contains(document.activeElement);
    byId("ven-credential-make").hidden = isEnabled;
    byId("ven-credential-rotate").hidden = byId("ven-credential-revoke").hidden = !isEnabled;
    if (hadFocus && document.activeElement === document.body) byId("ven-credential").querySelector("button:not([hidden])").focus();
  }

  make() {
    return this.change("Give this VEN a password?", "Make a password", "With it the VEN uses its own topics at the broker and no other.", () => post(this.path));
  }

  rotate() {
    return this.change("Give this VEN another password?", "Rotate", "The broker ends its connections, and the present password works no more.", () => post(`${this.path}/rotate`));
  }

  /** Asks, and shows the password that was made. */
  async change(title, action, consequence, does) {
    let made = null;
    await ask({
      title, action, body: [element("p", {}, consequence)],
      does: async () => {
        made = await does();
      },
    });
    await this.refresh();
    if (made) await ask({ title: "Write this down: it is shown once", action: "Done", body: login(made) });
  }

  async revoke() {
    await ask({
      title: "Revoke the password of this VEN?", action: "Revoke", isDanger: true,
      body: [element("p", {}, "The broker ends its connections within seconds and does not let it in again, until it is given another password. Its history stays.")],
      does: () => remove(this.path),
    });
    await this.refresh();
  }
}

async function credentialOrNull(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

function factsOf(credential) {
  return [
    ["User name", credential.id],
    ["Status", STATUSES[credential.status]],
    ["Changed", element("span", {}, time(credential.changedAt, exactMoment(credential.changedAt)), ` by ${credential.changedBy}`)],
    ["Confirmed by the broker", exactMoment(credential.appliedAt)],
    ...(credential.error === null ? [] : [["Why not yet", credential.error]]),
  ];
}

const login = ({ username, password }) => [element("dl", { class: "facts" }, ...facts([["User name", element("code", {}, username)], ["Password", element("code", { id: "ven-password" }, password)]]))];
