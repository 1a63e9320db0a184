// A table that may have ten thousand rows: sorted here, shown page by page; rows that have not changed stay.

import { count, element, setText } from "./page.js";
import { LANGUAGES } from "./times.js";

const PER_PAGE = 20;
const inOrder = new Intl.Collator(LANGUAGES, { numeric: true });
const MARKS = { none: "", ascending: " ▲", descending: " ▼" };

/**
 * A column: `text` is what a cell says, `node` an element for it, `value` what it is sorted by (default: the key of the row).
 * @typedef {{key: string, title: string, text: (row: object) => string, node?: (row: object, text: string) => Node,
 *   value?: (row: object) => any, isNumber?: boolean, isUnsorted?: boolean}} Column
 */

export class PagedTable {
  /**
   * @param {Element} place where the table and its pages go
   * @param {{name: string, caption: string, columns: Column[], keyOf: (row: object) => string,
   *   sort?: {key: string, sign: number}, empty?: string, onShow?: () => void}} description
   */
  constructor(place, { name, caption, columns, keyOf, sort, empty = "There are none.", onShow = () => {} }) {
    Object.assign(this, { name, columns, keyOf, onShow });
    this.sort = sort ?? { key: columns.find((column) => !column.isUnsorted).key, sign: 1 };
    this.rows = [];
    this.page = 0;
    this.drawn = new Map();
    this.ranks = new Map();
    this.build(place, caption, empty);
  }

  build(place, caption, empty) {
    this.heads = this.columns.map((column) => this.head(column));
    this.body = element("tbody", { id: `${this.name}-rows` });
    const head = element("thead", {}, element("tr", { id: `${this.name}-head` }, ...this.heads));
    this.table = element("table", {}, element("caption", { class: "unseen" }, caption), head, this.body);
    this.empty = element("p", {}, empty);
    this.back = element("button", { type: "button", class: "quiet", onclick: () => this.turn(-1) }, "Back");
    this.on = element("button", { type: "button", class: "quiet", onclick: () => this.turn(1) }, "Next");
    this.where = element("span", { id: `${this.name}-page` });
    this.pages = element("nav", { class: "inline", "aria-label": `Pages: ${caption}` }, this.back, this.where, this.on);
    this.scroll = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, this.table);
    place.replaceChildren(this.scroll, this.empty, this.pages);
    this.draw();
  }

  head(column) {
    const inner = column.isUnsorted ? element("span", column.isHidden ? { class: "unseen" } : {}, column.title) : element("button", { type: "button", onclick: () => this.sortBy(column.key) }, column.title);
    return element("th", { scope: "col", class: column.isNumber ? "number" : null }, inner);
  }

  /** Shows rows, all of them; the page stays, unless it is said otherwise. */
  show(rows, page = this.page) {
    this.rows = this.sorted(rows);
    this.page = page;
    this.draw();
  }

  sorted(rows) {
    const column = this.columns.find(({ key }) => key === this.sort.key);
    const valueOf = column.value ?? ((row) => row[column.key]);
    const values = new Map(rows.map((row) => [row, valueOf(row)]));
    const rank = this.ranking(column.key, values);
    const sign = this.sort.sign;
    return [...rows].sort((one, other) => compare(rank(values.get(one)), rank(values.get(other)), sign));
  }

  /** Words are compared once, not at each sorting: comparing by a language is slow. */
  ranking(key, values) {
    const words = new Set();
    for (const value of values.values()) if (typeof value === "string") words.add(value);
    if (words.size === 0) return (value) => value;
    const known = this.ranks.get(key);
    const isRanked = known && [...words].every((word) => known.has(word));
    const ranks = isRanked ? known : new Map([...words].sort(inOrder.compare).map((word, place) => [word, place]));
    this.ranks.set(key, ranks);
    return (value) => (value == null ? null : ranks.get(value));
  }

  sortBy(key) {
    this.sort = { key, sign: this.sort.key === key ? -this.sort.sign : 1 };
    this.show(this.rows, 0);
  }

  turn(pages) {
    this.page += pages;
    this.draw();
  }

  get visible() {
    return this.rows.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE);
  }

  draw() {
    const pages = Math.max(1, Math.ceil(this.rows.length / PER_PAGE));
    this.page = Math.min(Math.max(0, this.page), pages - 1);
    this.fill(this.visible);
    this.columns.forEach((column, place) => this.mark(column, this.heads[place]));
    this.empty.hidden = this.rows.length > 0;
    this.scroll.hidden = this.rows.length === 0;
    this.pages.hidden = pages === 1;
    setText(this.where, `page ${count(this.page + 1)} of ${count(pages)}`);
    this.back.disabled = this.page === 0;
    this.on.disabled = this.page >= pages - 1;
    this.onShow();
  }

  mark(column, head) {
    if (column.isUnsorted) return;
    const order = this.sort.key !== column.key ? "none" : this.sort.sign > 0 ? "ascending" : "descending";
    if (head.getAttribute("aria-sort") !== order) head.setAttribute("aria-sort", order);
    setText(head.firstChild, column.title + MARKS[order]);
  }

  /** Rows that say what they said are the same elements: whoever is on one with the keyboard stays there. */
  fill(visible) {
    const before = this.drawn;
    this.drawn = new Map(visible.map((row) => [this.keyOf(row), this.row(row, before.get(this.keyOf(row)))]));
    const wanted = [...this.drawn.values()].map(({ line }) => line);
    const isSame = wanted.length === this.body.children.length && wanted.every((line, place) => line === this.body.children[place]);
    if (isSame) return;
    const focused = this.body.contains(document.activeElement) ? placeOf(document.activeElement) : null;
    this.body.replaceChildren(...wanted);
    if (focused) this.drawn.get(focused.key)?.line.cells[focused.cell]?.querySelector("button, a, input")?.focus();
  }

  row(row, before) {
    const texts = this.columns.map((column) => column.text(row));
    const said = JSON.stringify(texts);
    if (before?.said === said) return before;
    const cells = this.columns.map((column, place) =>
      element("td", { class: column.isNumber ? "number" : null }, column.node ? column.node(row, texts[place]) : texts[place]),
    );
    return { said, line: element("tr", { "data-key": this.keyOf(row) }, ...cells) };
  }
}

function placeOf(focused) {
  const cell = focused.closest("td");
  return cell && { key: cell.parentElement.dataset.key, cell: cell.cellIndex };
}

/** Unknown comes last, whichever way the rest is sorted. */
function compare(one, other, sign) {
  if (one == null || other == null) return (one == null) - (other == null);
  return sign * (one - other || 0);
}
