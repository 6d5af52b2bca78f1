// Tiles: one value each, where it comes from, and a line of the last ten minutes.

import { make } from "/static/core/dom.js";
import { kindOf, worst } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { Course, Tile } from "/static/elements/tile.js";

const SECOND_MS = 1000;

/**
 * @typedef {object} Row one tile
 * @property {string} title
 * @property {string} field of the summary
 * @property {string[]} groups of the summary from which the value comes
 * @property {(value: any) => {text: string, unit: string, grade?: string}} form how it is written
 * @property {(summary: object) => string} [more] what is said beside a value that is known
 * @property {string[]} [lines] fields that the line shows, on one scale; the field itself if absent, none if empty
 */

class Value extends Tile {
  constructor(row) {
    const lines = row.lines ?? [row.field];
    const course = new Course(lines.length, (value) => row.form(value).text);
    super(row.title, ...(lines.length > 0 ? course.elements : []));
    Object.assign(this, { row, lines, course });
  }

  tell(summary, origin) {
    const { field, form, more } = this.row;
    const value = summary?.[field];
    const isKnown = value !== undefined && origin !== "unknown";
    this.show(isKnown ? { ...form(value), more: more?.(summary) } : null, origin);
  }

  showLine(history, end, heard) {
    if (this.lines.length === 0) return;
    this.course.show(this.lines.map((field) => history.series(field)), end, history.spanMs, heard);
  }
}

/** The tiles of the half `channel`; `select(store)` gives the summary that is shown, that of the half if absent. */
export class Tiles extends Part {
  static channels = ["federation", "memory"];

  constructor(channel = "federation", rows = [], select = (store) => store.value(channel)) {
    super();
    this.channel = channel;
    this.select = select;
    this.tiles = rows.map((row) => new Value(row));
    this.linesAt = -SECOND_MS; // when the lines were drawn, ms of the page
  }

  build() {
    this.append(make("dl", "tiles", ...this.tiles.map((tile) => tile.element)));
  }

  draw() {
    const summary = this.select(this.store);
    for (const tile of this.tiles) {
      const kinds = tile.row.groups.map((group) => kindOf(summary?.[group]));
      tile.tell(summary, this.store.asHeard(worst(kinds)));
    }
    if (performance.now() >= this.linesAt + SECOND_MS) this.tick();
  }

  tick() {
    this.linesAt = performance.now();
    const history = this.store.history(this.channel);
    const now = this.store.now();
    const heard = history.until(now, this.store.standing.kind === "connected");
    for (const tile of this.tiles) tile.showLine(history, now, heard);
  }
}

customElements.define("pulse-tiles", Tiles);
