// What was changed, and by whom: the newest first, page by page.

import { getPage } from "./api.js";
import { byId, count, element, showTable, time } from "./page.js";
import { Panel } from "./panels.js";
import { isShown } from "./route.js";
import { exactMoment } from "./times.js";

const PER_PAGE = 100;
const COLUMNS = [
  { title: "At", cell: (entry) => time(entry.at, exactMoment(entry.at)) },
  { title: "Who", cell: (entry) => `${entry.who} (${entry.role})` },
  { title: "What", cell: (entry) => `${entry.method} ${entry.path}` },
  { title: "Status", cell: (entry) => entry.status ?? "not seen", isNumber: true },
  { title: "From", cell: (entry) => entry.clientAddress ?? "–" },
  { title: "Request", cell: (entry) => entry.requestId },
  { title: "Body", cell: (entry) => (entry.body === null ? "–" : element("details", {}, element("summary", {}, "show"), element("code", { class: "wrap" }, JSON.stringify(entry.body)))) },
];

export class Audit {
  constructor() {
    this.panel = new Panel(byId("audit"), 30);
    this.form = byId("audit-filter");
    this.entries = [];
    this.next = null;
    this.form.addEventListener("submit", (submitted) => submitted.preventDefault());
    this.form.addEventListener("input", () => this.show());
    byId("audit-older").addEventListener("click", () => this.panel.ask(() => this.readOlder()));
  }

  refresh() {
    return isShown("audit") ? this.panel.ask(() => this.read()) : null;
  }

  /** Reads the newest; what was read of older ones stays. */
  async read() {
    const { entries, next } = await getPage(`/api/audit?limit=${PER_PAGE}`);
    const known = new Set(entries.map((entry) => entry.id));
    const isGap = this.entries.length > 0 && !this.entries.some((entry) => known.has(entry.id));
    if (isGap || this.entries.length === 0) this.next = next;
    this.entries = isGap ? entries : [...entries, ...this.entries.filter((entry) => !known.has(entry.id))];
    this.show();
  }

  async readOlder() {
    const { entries, next } = await getPage(this.next);
    this.next = next;
    this.entries.push(...entries);
    this.show();
  }

  show() {
    const words = this.form.elements.words.value.trim().toLowerCase();
    const found = this.entries.filter((entry) => `${entry.who} ${entry.method} ${entry.path}`.toLowerCase().includes(words));
    showTable(byId("audit-table"), COLUMNS, found, "What was changed", "Nothing was changed like that.");
    byId("audit-count").textContent = `${count(found.length)} of the newest ${count(this.entries.length)} entries`;
    byId("audit-older").hidden = this.next === null;
  }
}
