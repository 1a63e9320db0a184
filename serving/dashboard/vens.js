// The list of VENs: searched, filtered and sorted here, shown page by page, so that ten thousand are no burden.

import { get } from "./api.js";
import { ago, byId, element, MEASURED, number, REPORTED, withSource } from "./page.js";
import { Panel } from "./panels.js";

const PER_PAGE = 20;
const COLUMNS = [
  { key: "id", title: "Id", cell: (ven) => ven.id },
  { key: "name", title: "Name", cell: (ven) => ven.name },
  { key: "status", title: "Status", cell: (ven) => element("span", { class: "status", "data-status": ven.status }, ven.status) },
  { key: "currentPower", title: withSource("Uses, kW", MEASURED), cell: (ven) => number(ven.currentPower), isNumber: true },
  { key: "controllablePower", title: withSource("Could shed, kW", REPORTED), cell: (ven) => number(ven.controllablePower), isNumber: true },
  { key: "responseTime", title: "Answers in, ms", cell: (ven) => (ven.hasAnswered ? ven.responseTime : "–"), isNumber: true },
  { key: "lastSeen", title: "Last seen", cell: (ven) => element("time", { datetime: ven.lastSeen ?? "" }, ago(ven.lastSeen)) },
];
const inOrder = new Intl.Collator("en", { numeric: true });

export class Vens {
  /** @param {(venId: string) => void} open */
  constructor(open) {
    this.open = open;
    this.all = [];
    this.found = [];
    this.sort = { key: "id", sign: 1 };
    this.page = 0;
    this.panel = new Panel(byId("vens"), 10);
    this.form = byId("vens-filter");
    this.form.addEventListener("input", () => this.find(0));
    this.form.elements.group.addEventListener("change", () => this.refresh());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    byId("vens-back").addEventListener("click", () => this.turn(-1));
    byId("vens-on").addEventListener("click", () => this.turn(1));
    this.heads = COLUMNS.map((column) => this.head(column));
    byId("vens-head").append(...this.heads);
  }

  head(column) {
    const button = element("button", { type: "button", onclick: () => this.sortBy(column.key) }, column.title);
    return element("th", { scope: "col", class: column.isNumber ? "number" : null }, button);
  }

  refresh() {
    return this.panel.ask(() => this.read());
  }

  async read() {
    await this.offerGroups();
    const group = this.form.elements.group.value;
    const all = await get(group ? `/api/vens/summary?group=${encodeURIComponent(group)}` : "/api/vens/summary");
    if (group !== this.form.elements.group.value) return; // another one was chosen meanwhile
    this.all = all;
    for (const ven of this.all) ven.words = `${ven.id}\n${ven.name}\n${ven.address ?? ""}`.toLowerCase();
    this.offerStatuses();
    this.find(this.page);
  }

  /** A status transition, as soon as it is told. */
  showStatus(venId, status) {
    const ven = this.all.find((each) => each.id === venId);
    if (!ven || ven.status === status) return;
    ven.status = status;
    this.later ??= requestAnimationFrame(() => {
      this.later = null;
      this.offerStatuses();
      this.find(this.page);
    });
  }

  /** Groups are members as they are now, which only the server knows. */
  async offerGroups() {
    const select = this.form.elements.group;
    const groups = await get("/api/groups");
    const offered = JSON.stringify(groups.map((group) => [group.id, group.name]));
    if (offered === this.offered) return; // somebody may be choosing just now
    this.offered = offered;
    const chosen = groups.some((group) => group.id === select.value) ? select.value : "";
    const any = select.options[0];
    select.replaceChildren(any, ...groups.map((group) => element("option", { value: group.id }, group.name)));
    select.value = chosen;
    byId("vens-group").hidden = groups.length === 0;
  }

  offerStatuses() {
    const select = this.form.elements.status;
    const known = new Set([...select.options].map((option) => option.value));
    for (const status of new Set(this.all.map((ven) => ven.status))) {
      if (!known.has(status)) select.append(element("option", { value: status }, status));
    }
  }

  sortBy(key) {
    this.sort = { key, sign: this.sort.key === key ? -this.sort.sign : 1 };
    this.find(0);
  }

  turn(pages) {
    this.page += pages;
    this.show();
  }

  find(page) {
    const words = this.form.elements.words.value.trim().toLowerCase();
    const status = this.form.elements.status.value;
    this.found = this.all.filter((ven) => (!status || ven.status === status) && ven.words.includes(words));
    const { key, sign } = this.sort;
    this.found.sort((one, other) => compare(one[key], other[key], sign));
    this.page = page;
    this.show();
  }

  show() {
    const pages = Math.max(1, Math.ceil(this.found.length / PER_PAGE));
    this.page = Math.min(Math.max(0, this.page), pages - 1);
    const visible = this.found.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE);
    this.fill(visible);
    COLUMNS.forEach((column, place) => {
      const order = this.sort.key !== column.key ? "none" : this.sort.sign > 0 ? "ascending" : "descending";
      this.heads[place].setAttribute("aria-sort", order);
      this.heads[place].firstChild.textContent = column.title + { none: "", ascending: " ▲", descending: " ▼" }[order];
    });
    byId("vens-count").textContent = `${this.found.length} of ${this.all.length} VENs`;
    byId("vens-page").textContent = `page ${this.page + 1} of ${pages}`;
    byId("vens-back").disabled = this.page === 0;
    byId("vens-on").disabled = this.page >= pages - 1;
  }

  /** Fills the rows without losing the place of whoever is on one with the keyboard. */
  fill(visible) {
    const rows = byId("vens-rows");
    const focused = rows.contains(document.activeElement) ? document.activeElement.dataset.ven : null;
    rows.replaceChildren(...visible.map((ven) => this.row(ven)));
    if (focused !== null) [...rows.querySelectorAll("button")].find((b) => b.dataset.ven === focused)?.focus();
  }

  row(ven) {
    const cells = COLUMNS.map((column) => element("td", { class: column.isNumber ? "number" : null }, column.cell(ven)));
    cells[0].replaceChildren(element("button", { type: "button", class: "link", "data-ven": ven.id }, ven.id));
    return element("tr", { class: "opens", onclick: () => this.open(ven.id) }, ...cells);
  }
}

/** Unknown comes last, whichever way the rest is sorted. */
function compare(one, other, sign) {
  if (one == null || other == null) return (one == null) - (other == null);
  return sign * (typeof one === "number" ? one - other : inOrder.compare(one, other));
}
