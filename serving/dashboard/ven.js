// One VEN: facts, loads, and the power of the panel or of a load.

import { get } from "./api.js";
import { ago, byId, element, MEASURED, moment, number, REPORTED, table, withSource } from "./page.js";
import { Panel } from "./panels.js";
import { PowerChart } from "./power.js";

const dialog = byId("ven");

export class OneVen {
  constructor() {
    this.id = null;
    this.panel = new Panel(byId("ven"), 10);
    this.power = new PowerChart(
      { chart: byId("ven-chart"), caption: byId("ven-caption"), ranges: byId("ven-ranges") }, "Power of the VEN", new Panel(byId("ven-power"), 60),
    );
    dialog.addEventListener("close", () => {
      this.id = null;
      this.power.show(null);
      if (location.hash.startsWith("#ven=")) history.replaceState(null, "", "#vens");
    });
  }

  async open(venId) {
    this.id = venId;
    this.panel.forget();
    byId("ven-title").textContent = venId;
    history.replaceState(null, "", `#ven=${encodeURIComponent(venId)}`);
    if (!dialog.open) dialog.showModal();
    await this.refresh();
    await this.showPanel();
  }

  path() {
    return `/api/vens/${encodeURIComponent(this.id)}`;
  }

  refresh() {
    return this.id === null ? null : this.panel.ask(() => this.read());
  }

  async read() {
    const [ven, optOuts] = await Promise.all([get(this.path()), get(`${this.path()}/opt-outs`)]);
    if (ven.id !== this.id) return;
    byId("ven-title").textContent = ven.name === ven.id ? ven.id : `${ven.name} (${ven.id})`;
    byId("ven-facts").replaceChildren(...facts(ven).map(([title, value]) => element("div", {}, element("dt", {}, title), element("dd", {}, value))));
    this.showLoads(ven.loads);
    showOptOuts(optOuts);
  }

  showLoads(loads) {
    if (loads.length === 0) {
      byId("ven-loads").replaceChildren(element("p", {}, "This VEN has not reported any load."));
      return;
    }
    byId("ven-loads").replaceChildren(table(this.columns(), loads, "Loads of the VEN"));
  }

  columns() {
    const show = (load) => this.showLoad(load);
    return [
      { title: "Load", cell: (load) => element("button", { type: "button", class: "link", onclick: () => show(load) }, load.name ?? load.id) },
      { title: "Type", cell: (load) => load.type ?? "unknown" },
      { title: withSource("Uses, kW", MEASURED), cell: (load) => number(load.currentPowerKw), isNumber: true },
      { title: withSource("Could shed, kW", REPORTED), cell: (load) => number(load.shedCapabilityKw), isNumber: true },
      { title: withSource("Capacity, kW", REPORTED), cell: (load) => number(load.capacityKw), isNumber: true },
    ];
  }

  showPanel() {
    byId("ven-chart-title").textContent = "Power of the whole VEN";
    return this.power.show(`${this.path()}/history`, "Power of the whole VEN");
  }

  showLoad(load) {
    const title = `Power of ${load.name ?? load.id}`;
    const whole = element("button", { type: "button", class: "quiet", onclick: () => this.showPanel() }, "the whole VEN");
    byId("ven-chart-title").replaceChildren(`${title} `, whole);
    return this.power.show(`${this.path()}/loads/${encodeURIComponent(load.id)}/history`, title);
  }
}

function showOptOuts(optOuts) {
  const place = byId("ven-opt-outs");
  if (optOuts.length === 0) place.replaceChildren(element("p", {}, "No opt-outs."));
  else place.replaceChildren(table(OPT_OUTS, optOuts, "Opt-outs of the VEN"));
}

const OPT_OUTS = [
  { title: "From", cell: (optOut) => element("time", { datetime: optOut.from }, moment(optOut.from)) },
  { title: "To", cell: (optOut) => element("time", { datetime: optOut.to }, moment(optOut.to)) },
  { title: "Reason", cell: (optOut) => optOut.reason || "–" },
];

function facts(ven) {
  const { lat, lon } = ven.location;
  return [
    ["Status", element("span", { class: "status", "data-status": ven.status }, ven.status)],
    [withSource("Uses", MEASURED), `${number(ven.metrics.currentPowerKw)} kW`],
    [withSource("Could shed", REPORTED), `${number(ven.metrics.shedAvailabilityKw)} kW`],
    ["In event", ven.metrics.activeEventId ?? "–"],
    ["Last seen", ago(ven.lastSeen)],
    ["Place", !ven.isLocated ? "–" : `${lat.toFixed(4)}, ${lon.toFixed(4)}`],
  ];
}
