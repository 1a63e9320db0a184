// The page of one VEN: what is known of it, what people set, its loads, its power, and why it may be silent.

import { get, patch, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { ago, byId, count, element, MEASURED, moment, number, REPORTED, setText, showFacts, statusMark, time, withSource } from "./page.js";
import { Panel } from "./panels.js";
import { PowerChart } from "./power.js";
import { go, isShown, linkTo, setParams } from "./route.js";
import { VenCommands } from "./ven-commands.js";
import { VenCredential } from "./ven-credential.js";
import { VenLoads } from "./ven-loads.js";
import { VenMessages } from "./ven-messages.js";
import { VenOptOuts } from "./ven-opt-outs.js";

export class VenPage {
  constructor() {
    this.id = null;
    this.panel = new Panel(byId("ven"), 10);
    this.power = new PowerChart({ chart: byId("ven-chart"), caption: byId("ven-caption"), ranges: byId("ven-ranges") }, "Power of the VEN", new Panel(byId("ven-power"), 60), { isShown: () => this.isShown });
    this.loads = new VenLoads((load) => this.showLoad(load));
    this.parts = [new VenCommands(), new VenOptOuts(), new VenMessages(), new VenCredential()];
    byId("ven-edit").addEventListener("click", () => this.edit());
    byId("ven-retire").addEventListener("click", () => this.retire());
    byId("ven-whole").addEventListener("click", () => this.showLoad(null));
  }

  async open(id, params) {
    if (id !== this.id) this.forget(id);
    this.loadId = params.get("load");
    await Promise.all([this.refresh(), this.showPower()]);
  }

  forget(id) {
    this.id = id;
    this.ven = null;
    this.panel.forget();
    this.power.forget();
    for (const part of [this.loads, ...this.parts]) part.forget(this.path(id));
    setText(byId("ven-title"), id);
  }

  path(id = this.id) {
    return `/api/vens/${encodeURIComponent(id)}`;
  }

  get isShown() {
    return this.id !== null && isShown("vens", this.id);
  }

  refresh() {
    if (!this.isShown) return null;
    return Promise.all([this.panel.ask(() => this.read()), ...this.parts.map((part) => part.refresh())]);
  }

  async read() {
    const ven = await get(this.path());
    if (ven.id !== this.id) return;
    this.ven = ven;
    setText(byId("ven-title"), ven.name === ven.id ? ven.id : `${ven.name} (${ven.id})`);
    showFacts(byId("ven-facts"), factsOf(ven));
    this.loads.show(ven);
  }

  /** Shows the power of a load, or of the VEN; the address says which. */
  showLoad(load) {
    this.loadId = load?.id ?? null;
    setParams({ load: this.loadId });
    return this.showPower();
  }

  showPower() {
    byId("ven-whole").hidden = this.loadId === null;
    const title = this.loadId === null ? "Power of the VEN" : `Power of load ${this.loadId}`;
    setText(byId("ven-chart-title"), title);
    const path = this.loadId === null ? this.path() : `${this.path()}/loads/${encodeURIComponent(this.loadId)}`;
    return this.power.show(`${path}/history`, title);
  }

  async edit() {
    if (!this.ven) return;
    const isDone = await ask({
      title: `Edit ${this.id}`, action: "Save", fields: editable(this.ven),
      does: (values) => patch(this.path(), changesOf(values, this.ven)),
    });
    if (isDone) await this.refresh();
  }

  async retire() {
    const text = "It leaves every list and total, and commands that it has not answered are withdrawn. Its history stays. To register the same id brings it back.";
    const isDone = await ask({ title: `Retire ${this.id}?`, body: [element("p", {}, text)], action: "Retire", isDanger: true, does: () => remove(this.path()) });
    if (isDone) go("vens");
  }
}

function factsOf(ven) {
  const { lat, lon } = ven.location;
  const event = ven.metrics.activeEventId;
  const since = ven.slotMinutesSince === null ? "" : `, since ${moment(ven.slotMinutesSince)}`;
  return [
    ["Status", statusMark(ven.status)],
    ["Last heard", ven.lastSeen === null ? "never" : time(ven.lastSeen, `${ago(ven.lastSeen)} (${moment(ven.lastSeen)})`)],
    [withSource("Uses", MEASURED), ven.isReporting ? `${number(ven.metrics.currentPowerKw)} kW` : "–"],
    [withSource("Could shed", REPORTED), `${number(ven.metrics.shedAvailabilityKw)} kW`],
    ["In event", event === null ? "–" : element("a", { href: linkTo("events", event) }, event)],
    ["First heard or registered", moment(ven.createdAt)],
    ["Region", ven.region || "–"],
    ["Tags", ven.tags.join(", ") || "–"],
    ["Place", ven.isLocated ? `${number(lat)}, ${number(lon)}` : "–"],
    ["Address", ven.address || "–"],
    ["Registration", ven.registrationId || "–"],
    [`Meter's slots (${ven.slotMinutesSource})`, `${count(ven.slotMinutes)} min${since}`],
  ];
}

function editable(ven) {
  return [
    { name: "name", label: "Name", value: ven.name },
    { name: "status", label: "Status", hint: "counts until the VEN says otherwise", kind: "choice", value: ven.status, options: [...new Set([ven.status, "online", "offline", "maintenance"])].map((each) => [each, each]) },
    { name: "region", label: "Region", value: ven.region },
    { name: "tags", label: "Tags", hint: "separated by commas", kind: "words", value: ven.tags },
    { name: "address", label: "Address", value: ven.address },
    { name: "registrationId", label: "Registration", value: ven.registrationId },
    { name: "lat", label: "Latitude, degrees", kind: "number", min: -90, max: 90, value: ven.isLocated ? ven.location.lat : null },
    { name: "lon", label: "Longitude, degrees", kind: "number", min: -180, max: 180, value: ven.isLocated ? ven.location.lon : null },
    { name: "slotMinutes", label: "Slots of its meter", kind: "choice", value: String(ven.slotMinutes), options: ["5", "15", "30"].map((each) => [each, `${each} min`]) },
  ];
}

/** What people have changed; an empty text forgets. */
function changesOf({ lat, lon, slotMinutes, ...words }, ven) {
  const changes = Object.fromEntries(Object.entries(words).filter(([key, value]) => JSON.stringify(value ?? "") !== JSON.stringify(ven[key] ?? "")));
  const place = lat === null || lon === null ? null : { lat, lon };
  const before = ven.isLocated ? ven.location : null;
  if (JSON.stringify(place) !== JSON.stringify(before && { lat: before.lat, lon: before.lon })) changes.location = place;
  if (Number(slotMinutes) !== ven.slotMinutes) changes.slotMinutes = Number(slotMinutes);
  return changes;
}
