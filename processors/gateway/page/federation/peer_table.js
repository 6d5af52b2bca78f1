// The table of peers: any number of them, of which only the rows in view are in the document. How it is sorted and
// filtered is in the address.

import { make, place, setText } from "/static/core/dom.js";
import { UNKNOWN, number } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { replaceParameters, route } from "/static/core/router.js";
import { region } from "/static/elements/panel.js";
import { COLUMNS } from "/static/federation/columns.js";
import { PeerOrder } from "/static/federation/peer_order.js";
import { PeerRow } from "/static/federation/peer_row.js";
import { rowOf } from "/static/federation/peers.js";
import { Viewport } from "/static/federation/viewport.js";

const ROW_REM = 3;
const SETTLE_MS = 900; // rows change places once a second at most
const [BY_NAME] = COLUMNS;

class PeerTable extends Part {
  static channels = ["peers"];

  build() {
    this.order = new PeerOrder();
    this.wish = null; // what the address asks for: {filter, column, isDown}
    this.isNew = true; // whether the order begins anew
    this.settledAt = 0; // when rows changed places last, ms
    this.rows = new Map(); // those in the document by peer id
    this.current = { id: null, index: 0 }; // where the keyboard is
    this.count = make("small");
    this.origin = mark();
    this.heads = COLUMNS.map((column) => this.head(column));
    this.append(this.panel());
    this.follow();
    this.look();
  }

  panel() {
    const title = make("h3", "", "Peers", this.count, this.origin);
    this.body = make("div", "body");
    this.body.setAttribute("role", "rowgroup");
    this.none = make("p", "empty");
    const origin = make("span", "of-origin", make("span", "hidden", "Origin"));
    origin.setAttribute("role", "columnheader");
    const heads = make("div", "row", ...this.heads, origin);
    heads.setAttribute("role", "row");
    heads.setAttribute("aria-rowindex", 1);
    const group = make("div", "heads", heads);
    group.setAttribute("role", "rowgroup");
    this.table = make("div", "scroll rows", group, this.body);
    this.table.setAttribute("role", "table");
    const panel = region("peers", title, make("div", "top", title, this.filtering()), this.table, this.none);
    this.table.setAttribute("aria-labelledby", title.id);
    panel.style.setProperty("--row", `${ROW_REM}rem`);
    return panel;
  }

  filtering() {
    this.input = make("input");
    Object.assign(this.input, { type: "search", placeholder: "words, status:offline, tier:core", spellcheck: false });
    // How many are left is told to those who type, and not at each change of a peer.
    this.said = make("span", "hidden");
    this.said.setAttribute("role", "status");
    this.input.oninput = () => this.ask({ filter: this.input.value || null });
    return make("div", "filter", make("label", "", "Filter", this.input), this.said);
  }

  head(column) {
    const button = make("button", "", column.title);
    button.onclick = () => {
      const isDown = this.wish.column === column ? !this.wish.isDown : (column.isDown ?? false);
      const sort = `${isDown ? "-" : ""}${column.name}`;
      this.ask({ sort: sort === BY_NAME.name ? null : sort });
    };
    const head = make("span", `of-${column.name}${column.isNumber ? " number" : ""}`, button);
    head.setAttribute("role", "columnheader");
    return head;
  }

  follow() {
    addEventListener("hashchange", () => this.look());
    this.view = new Viewport(this.table, ROW_REM, () => this.changed());
    this.body.addEventListener("keydown", (event) => this.press(event));
    this.body.addEventListener("focusin", ({ target }) => this.enter(target));
  }

  ask(changes) {
    replaceParameters(changes);
    this.look();
    this.draw();
    if ("filter" in changes) setText(this.said, this.count.textContent);
  }

  // What the address asks for is shown.
  look() {
    const { view, parameters } = route();
    if (view !== "federation" && this.wish !== null) return;
    const filter = parameters.get("filter") ?? "";
    const sort = parameters.get("sort") ?? "";
    const column = COLUMNS.find(({ name }) => name === sort.replace(/^-/, "")) ?? BY_NAME;
    const isDown = sort === `-${column.name}`;
    const { wish } = this;
    if (wish !== null && wish.filter === filter && wish.column === column && wish.isDown === isDown) return;
    this.wish = { filter, column, isDown };
    if (this.input.value !== filter) this.input.value = filter;
    COLUMNS.forEach((each, index) => this.markSort(this.heads[index], each === column));
    this.isNew = true;
    this.view.reveal(0);
    this.changed();
  }

  markSort(head, isSorted) {
    if (isSorted) head.setAttribute("aria-sort", this.wish.isDown ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }

  take({ changed }) {
    const { dirty, total } = this.order;
    // More than there are: many came and left while nobody looked.
    if (changed === null || dirty.size > total) this.isNew = true;
    if (!this.isNew) for (const id of Object.keys(changed)) dirty.add(id);
  }

  draw() {
    const peers = this.store.value("peers");
    const hadFocus = this.body.contains(document.activeElement);
    this.settle(peers);
    this.showRows(peers);
    this.showWords(peers);
    if (hadFocus && !this.body.contains(document.activeElement)) this.move(this.current.index); // its peer has left
  }

  tick() {
    this.draw();
  }

  settle(peers) {
    const now = performance.now();
    if (this.isNew) this.order.arrange(peers ?? {}, this.wish);
    else if (this.order.dirty.size > 0 && now >= this.settledAt + SETTLE_MS) this.order.settle(peers ?? {});
    else return;
    this.isNew = false;
    this.settledAt = now;
  }

  showWords(peers) {
    const { entries, total } = this.order;
    setText(this.count, total === 0 ? "" : `${number(entries.length)} of ${number(total)} shown`);
    setMark(this.origin, this.store.origin("peers"));
    this.none.hidden = entries.length > 0;
    this.table.setAttribute("aria-rowcount", entries.length + 1);
    if (this.store.unreached("peers")) setText(this.none, "The roster of that moment is not kept any more.");
    else if (peers === null) setText(this.none, UNKNOWN);
    else setText(this.none, total === 0 ? "No peer is known yet." : "No peer has all of these words.");
  }

  // Indices of the rows that are to be in the document: those in view, and the one that has the focus.
  window() {
    const { entries } = this.order;
    const [first, last] = this.view.range(entries.length);
    const indices = Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
    if (!this.body.contains(document.activeElement)) return indices;
    const focused = entries.findIndex(({ id }) => id === this.current.id);
    if (focused < 0 || (focused >= first && focused < last)) return indices;
    return focused < first ? [focused, ...indices] : [...indices, focused];
  }

  showRows(peers) {
    const { entries } = this.order;
    const [now, origin] = [this.store.now(), this.store.origin("peers")];
    const rows = new Map();
    for (const index of this.window()) {
      const { id } = entries[index];
      const row = this.rows.get(id) ?? new PeerRow(id);
      row.show(rowOf(peers, id), index, now, origin);
      rows.set(id, row);
      if (id === this.current.id) this.current.index = index;
    }
    this.rows = rows;
    this.body.style.setProperty("--count", entries.length);
    this.body.hidden = entries.length === 0;
    place(this.body, [...rows.values()].map(({ element }) => element));
    this.showStop();
  }

  // One row is where the Tab key stops.
  showStop() {
    const visible = this.order.entries[Math.ceil(this.view.top / this.view.rowPx)]?.id;
    const stop = this.rows.has(this.current.id) ? this.current.id : visible;
    for (const [id, { link }] of this.rows) link.tabIndex = id === stop ? 0 : -1;
  }

  enter(target) {
    for (const [id, { link, index }] of this.rows) if (link === target) this.current = { id, index };
    this.showStop();
  }

  press(event) {
    const page = this.view.rows(this.headsPx);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.move(this.current.index + step);
  }

  // How much of the rows the heads cover.
  get headsPx() {
    return this.table.firstChild.offsetHeight;
  }

  // The keyboard goes to the `index`th row, which is brought into view.
  move(index) {
    const last = this.order.entries.length - 1;
    if (last < 0) return;
    const to = Math.max(0, Math.min(last, index));
    this.current = { id: this.order.entries[to].id, index: to };
    this.view.reveal(to, this.headsPx);
    this.showRows(this.store.value("peers"));
    this.rows.get(this.current.id).link.focus({ preventScroll: true });
  }
}

customElements.define("pulse-peer-table", PeerTable);
