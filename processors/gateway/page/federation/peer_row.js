// One row of the table of peers.

import { make, setText } from "/static/core/dom.js";
import { UNKNOWN } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { COLUMNS, nameOf } from "/static/federation/columns.js";
import { CERTAIN, peerLink, setStatus, statusMark, suspected } from "/static/federation/peers.js";

export class PeerRow {
  constructor(id) {
    this.row = null; // what is shown; null before the first
    this.index = 0; // its place among those that are shown
    this.link = peerLink(id);
    this.under = make("small");
    this.origin = mark("unknown", { short: true });
    // Where there is no room for the column, its shape stands beside the name.
    this.statuses = [statusMark(), statusMark()];
    this.cells = COLUMNS.map(({ name, isNumber }) => make("span", `of-${name}${isNumber ? " number" : ""}`));
    this.cells.push(make("span", "of-origin", this.origin));
    for (const cell of this.cells) cell.setAttribute("role", "cell");
    this.cells[0].append(this.statuses[0], this.link, this.under);
    this.cells[2].append(this.statuses[1]);
    this.element = make("div", "row", ...this.cells);
    this.element.setAttribute("role", "row");
  }

  /** Show a row, null if the peer has left, as the `index`th. */
  show(row, index, now, origin) {
    this.index = index;
    this.element.style.setProperty("--index", index);
    this.element.setAttribute("aria-rowindex", index + 2); // the first is the heads'
    this.element.classList.toggle("gone", row === null);
    if (row === null) return;
    setMark(this.origin, origin);
    if (row !== this.row) this.fill(row);
    COLUMNS.forEach((column, at) => column.text !== undefined && this.write(this.cells[at], column, row, now));
  }

  fill(row) {
    this.row = row;
    setText(this.link, nameOf(row));
    setText(this.under, nameOf(row) === row.id ? "" : row.id);
    for (const each of this.statuses) setStatus(each, row.status);
    const cell = this.cells[3];
    cell.style.setProperty("--share", Math.min(1, row.suspicion / CERTAIN));
    cell.className = `of-suspicion number ${suspected(row.suspicion)}`;
  }

  write(cell, column, row, now) {
    const isKnown = (column.key(row) ?? null) !== null;
    setText(cell, isKnown ? column.text(row, now) : UNKNOWN);
    cell.classList.toggle("unknown", !isKnown);
  }
}
