// One VEN: facts, loads, and the power of the panel or of a load.

import { get } from "./api.js";
import { ago, byId, element, number, table } from "./page.js";
import { PowerChart } from "./power.js";

const dialog = byId("ven");

export class OneVen {
  constructor() {
    this.id = null;
    this.power = new PowerChart(
      { chart: byId("ven-chart"), caption: byId("ven-caption"), ranges: byId("ven-ranges") }, "Power of the VEN",
    );
    dialog.addEventListener("close", () => {
      this.id = null;
      this.power.show(null);
      if (location.hash.startsWith("#ven=")) history.replaceState(null, "", "#vens");
    });
  }

  async open(venId) {
    this.id = venId;
    byId("ven-title").textContent = venId;
    history.replaceState(null, "", `#ven=${encodeURIComponent(venId)}`);
    if (!dialog.open) dialog.showModal();
    await this.refresh();
    await this.showPanel();
  }

  path() {
    return `/api/vens/${encodeURIComponent(this.id)}`;
  }

  async refresh() {
    if (this.id === null) return;
    const ven = await get(this.path());
    if (ven.id !== this.id) return;
    byId("ven-title").textContent = ven.name === ven.id ? ven.id : `${ven.name} (${ven.id})`;
    byId("ven-facts").replaceChildren(...facts(ven).map(([title, value]) => element("div", {}, element("dt", {}, title), element("dd", {}, value))));
    this.showLoads(ven.loads);
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
      { title: "Uses, kW", cell: (load) => number(load.currentPowerKw), isNumber: true },
      { title: "Could shed, kW", cell: (load) => number(load.shedCapabilityKw), isNumber: true },
      { title: "Capacity, kW", cell: (load) => number(load.capacityKw), isNumber: true },
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

function facts(ven) {
  const { lat, lon } = ven.location;
  return [
    ["Status", element("span", { class: "status", "data-status": ven.status }, ven.status)],
    ["Uses", `${number(ven.metrics.currentPowerKw)} kW`],
    ["Could shed", `${number(ven.metrics.shedAvailabilityKw)} kW`],
    ["In event", ven.metrics.activeEventId ?? "–"],
    ["Last seen", ago(ven.lastSeen)],
    ["Place", !ven.isLocated ? "–" : `${lat.toFixed(4)}, ${lon.toFixed(4)}`],
  ];
}
