// Tiles: one value each, where it comes from, and a line of the last ten minutes.

import { make, setText } from "/static/core/dom.js";
import { DASH, span } from "/static/core/format.js";
import { mark, setMark, worst } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { Trend } from "/static/elements/trend.js";

const SECOND_MS = 1000;
const UNKNOWN = { text: DASH, unit: "unknown", grade: "unknown" };

/**
 * @typedef {object} Row one tile
 * @property {string} title
 * @property {string} field of the summary
 * @property {string[]} groups of the summary from which the value comes
 * @property {(value: any, summary: object) => {text: string, unit: string, grade?: string}} form how it is written
 * @property {(summary: object) => string} [more] what is said beside a value that is known
 * @property {string[]} [lines] fields that the line shows, on one scale; the field itself if absent, none if empty
 */

// One tile; its elements are made once, and only what changed is written.
class Tile {
  constructor(row) {
    this.row = row;
    this.lines = row.lines ?? [row.field];
    this.origin = mark();
    this.text = make("b");
    this.unit = make("small");
    this.value = make("dd", "value", this.text, this.unit);
    this.more = make("dd", "more");
    this.trend = new Trend(this.lines.length);
    this.range = make("dd", "range");
    const line = this.lines.length > 0 ? [make("dd", "line", this.trend.svg), this.range] : [];
    this.element = make("div", "tile", make("dt", "", row.title, this.origin), this.value, this.more, ...line);
  }

  show(summary, origin) {
    const { field, form, more } = this.row;
    const value = summary?.[field];
    const isKnown = value !== undefined;
    const { text, unit, grade = "" } = isKnown ? form(value, summary) : UNKNOWN;
    setText(this.text, text);
    setText(this.unit, unit);
    this.value.className = `value ${grade}`;
    setText(this.more, isKnown ? (more?.(summary) ?? "") : "");
    setMark(this.origin, isKnown ? origin : "unknown");
  }

  showLine(history, now) {
    if (this.lines.length === 0) return;
    const lists = this.lines.map((field) => history.series(field));
    const range = this.trend.show(lists, now, history.spanMs);
    setText(this.range, range === null ? "" : this.words(range, now - lists[0][0][0]));
  }

  words(range, length) {
    const [least, most] = range.map((value) => this.row.form(value, {}).text);
    return least === most ? `steady for ${span(length)}` : `${least} to ${most} in ${span(length)}`;
  }
}

/** The tiles of the half `channel`; `select(store)` gives the summary that is shown, that of the half if absent. */
export class Tiles extends Part {
  static channels = ["federation", "memory"];

  constructor(channel = "federation", rows = [], select = (store) => store.value(channel)) {
    super();
    this.channel = channel;
    this.select = select;
    this.tiles = rows.map((row) => new Tile(row));
    this.linesAt = -SECOND_MS; // when the lines were drawn, ms of the page
  }

  build() {
    this.append(make("dl", "tiles", ...this.tiles.map((tile) => tile.element)));
  }

  draw() {
    const summary = this.select(this.store);
    for (const tile of this.tiles) {
      const kinds = tile.row.groups.map((group) => summary?.[group]?.source);
      tile.show(summary, this.store.asHeard(worst(kinds)));
    }
    if (performance.now() >= this.linesAt + SECOND_MS) this.tick();
  }

  tick() {
    this.linesAt = performance.now();
    const history = this.store.history(this.channel);
    for (const tile of this.tiles) tile.showLine(history, this.store.now());
  }
}

customElements.define("pulse-tiles", Tiles);
