// The loads of one VEN: what each uses and could shed, its settings, shed and restore.

import { patch, post, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, element, MEASURED, number, REPORTED, setText, showTable, withSource } from "./page.js";

const RESTORE = { amountKw: 0.001, durationS: 60 };
/** A shed replaces the one before it: next to nothing, for a minute, ends it. VENs have no command to restore one load. */

export class VenLoads {
  /** @param {(load: object) => void} showPower shows the power of a load */
  constructor(showPower) {
    this.showPower = showPower;
    this.place = byId("ven-loads");
    this.columns = this.described();
  }

  forget(path) {
    this.path = path;
    this.place.replaceChildren();
    setText(byId("ven-loads-message"), "");
  }

  show(ven) {
    this.shedding = new Set(ven.metrics.shedLoadIds);
    const loads = ven.loads.map((load) => ({ ...load, sheds: this.shedding.has(load.id) }));
    showTable(this.place, this.columns, loads, "Loads of the VEN", "This VEN has not reported any load.");
  }

  described() {
    return [
      { title: "Load", cell: (load) => element("button", { type: "button", class: "link", onclick: () => this.showPower(load) }, load.name) },
      { title: "Type", cell: (load) => load.type },
      { title: withSource("Uses, kW", MEASURED), cell: (load) => (load.isReporting ? number(load.currentPowerKw) : "–"), isNumber: true },
      { title: withSource("Could shed, kW", REPORTED), cell: (load) => number(load.shedCapabilityKw), isNumber: true },
      { title: withSource("Capacity, kW", REPORTED), cell: (load) => number(load.capacityKw), isNumber: true },
      { title: "Sheds", cell: (load) => (load.sheds ? "yes" : "no") },
      { title: "Enabled", cell: (load) => (load.enabled ? "yes" : "no") },
      { title: "Actions", cell: (load) => this.actions(load) },
    ];
  }

  actions(load) {
    const button = (text, does) => element("button", { type: "button", class: "link", "aria-label": `${text} ${load.name}`, onclick: () => does.call(this, load) }, text);
    return element("span", { class: "links" }, button("Shed", this.shed), button("Restore", this.restore), button("Edit", this.edit), button("Remove", this.remove));
  }

  of(load) {
    return `${this.path}/loads/${encodeURIComponent(load.id)}`;
  }

  shed(load) {
    return this.done(`Command to shed ${load.name} is stored; its answer is under Commands.`, {
      title: `Shed ${load.name}?`, action: "Shed",
      body: [element("p", {}, `It uses ${number(load.currentPowerKw)} kW (${MEASURED}) and could shed ${number(load.shedCapabilityKw)} kW (${REPORTED}). Restore ends it early.`)],
      fields: [
        { name: "amountKw", label: "Shed, kW", kind: "number", min: 0, isRequired: true, value: load.shedCapabilityKw || null },
        { name: "minutes", label: "For, minutes", kind: "number", min: 1, max: 1440, isRequired: true, value: 15 },
      ],
      does: ({ amountKw, minutes }) => post(`${this.of(load)}/commands/shed`, { amountKw, durationS: minutes * 60 }),
    });
  }

  restore(load) {
    const text = "A command to shed almost nothing for a minute replaces the earlier command. Events continue.";
    return this.done(`Command to restore ${load.name} is stored.`, {
      title: `Restore ${load.name}?`, action: "Restore", body: [element("p", {}, text)], does: () => post(`${this.of(load)}/commands/shed`, RESTORE),
    });
  }

  edit(load) {
    return this.done(`${load.name} is set; what its VEN must know is sent to it.`, {
      title: `Edit ${load.name}`, action: "Save",
      body: [element("p", {}, "What is set here wins over what the VEN reports; an empty field is the VEN's again.")],
      fields: [
        { name: "name", label: "Name", value: load.name },
        { name: "type", label: "Type", value: load.type },
        { name: "capacityKw", label: "Capacity, kW", kind: "number", min: 0, value: load.capacityKw },
        { name: "shedCapabilityKw", label: "Could shed, kW", kind: "number", min: 0, value: load.shedCapabilityKw },
        { name: "priority", label: "Priority", kind: "number", value: load.priority },
        { name: "enabled", label: "Enabled: it may be controlled", kind: "check", value: load.enabled },
      ],
      does: (values) => patch(this.of(load), Object.fromEntries(Object.entries(values).filter(([key, value]) => value !== load[key]))),
    });
  }

  remove(load) {
    return this.done(`${load.name} is removed, until its next sample.`, {
      title: `Remove ${load.name}?`, action: "Remove", isDanger: true,
      body: [element("p", {}, "It leaves lists and totals until its VEN sends another sample of it. Its history stays.")],
      does: () => remove(this.of(load)),
    });
  }

  async done(message, question) {
    if (await ask(question)) setText(byId("ven-loads-message"), message);
  }
}
