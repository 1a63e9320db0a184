// One dialog that shows what will happen and asks once; perhaps with fields to fill in.

import { Refused } from "./api.js";
import { field, valuesOf } from "./fields.js";
import { byId, setText } from "./page.js";

const dialog = byId("ask");
const form = byId("ask-form");
const submit = byId("ask-submit");

/**
 * Asks, and does it; a refusal is shown in the dialog, which stays.
 * @param {{title: string, body?: Node[], fields?: object[], action: string, isDanger?: boolean, does?: (values: object) => Promise<void>}} question
 * @returns {Promise<boolean>} whether it was done
 */
export function ask({ title, body = [], fields = [], action, isDanger = false, does = async () => {} }) {
  setText(byId("ask-title"), title);
  byId("ask-body").replaceChildren(...body, ...fields.map(field));
  setText(byId("ask-message"), "");
  setText(submit, action);
  submit.className = isDanger ? "danger" : "";
  form.onsubmit = (submitted) => {
    submitted.preventDefault();
    carryOut(() => does(valuesOf(form, fields)));
  };
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "done"), { once: true }));
}

async function carryOut(does) {
  submit.disabled = true;
  try {
    await does();
    dialog.close("done");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    setText(byId("ask-message"), error.message);
  } finally {
    submit.disabled = false;
  }
}

byId("ask-back").addEventListener("click", () => dialog.close());
