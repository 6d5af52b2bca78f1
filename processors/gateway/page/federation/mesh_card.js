// What is told of the peer that is pointed at. The table tells it to those who do not point.

import { make, setText } from "/static/core/dom.js";
import { DASH } from "/static/core/format.js";
import { COLUMNS, nameOf } from "/static/federation/columns.js";
import { setStatus, statusMark } from "/static/federation/peers.js";

const AWAY = 14; // from the peer, px
const SHOWN = COLUMNS.filter(({ name }) => ["tier", "suspicion", "latency", "shared"].includes(name));

/** A small card beside it. */
export class Card {
  constructor() {
    this.name = make("b");
    this.id = make("small");
    this.status = statusMark();
    this.values = SHOWN.map(() => make("dd"));
    const pairs = SHOWN.flatMap(({ title }, index) => [make("dt", "", title), this.values[index]]);
    this.element = make("div", "mesh-card", this.name, this.id, this.status, make("dl", "", ...pairs));
    this.element.setAttribute("aria-hidden", "true");
    this.element.hidden = true;
  }

  /** Show a node of the layout within a picture of this size, px; null hides it. */
  show(node, width, height) {
    this.element.hidden = node === null;
    if (node === null) return;
    const { id, row, x, y } = node;
    setText(this.name, nameOf(row));
    setText(this.id, nameOf(row) === id ? "" : id);
    setStatus(this.status, row.status);
    SHOWN.forEach(({ key, text }, index) => {
      setText(this.values[index], (key(row) ?? null) === null ? DASH : text(row));
    });
    const { offsetWidth, offsetHeight, style } = this.element;
    const left = x + AWAY + offsetWidth > width ? x - AWAY - offsetWidth : x + AWAY;
    const top = Math.min(y + AWAY, height - offsetHeight);
    style.transform = `translate(${Math.round(Math.max(0, left))}px, ${Math.round(Math.max(0, top))}px)`;
  }
}
