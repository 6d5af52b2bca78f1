// A tile: a value, what is said beside it, where it comes from, and a line of what it was.

import { make, setText } from "/static/core/dom.js";
import { DASH, span } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Trend } from "/static/elements/trend.js";

const NOTHING = { text: DASH, unit: "unknown", grade: "unknown" };

/** The line, and in words from where to where the value went. */
export class Course {
  /** With room for `count` lines on one scale; `form(value)` is how a value is written. */
  constructor(count, form) {
    this.form = form;
    this.trend = new Trend(count);
    this.range = make("dd", "range");
    this.elements = [make("dd", "line", this.trend.svg), this.range];
  }

  /** Show series, known until `heard`, over the stretch of `spanMs` before `end`. */
  show(lists, end, spanMs, heard) {
    const range = this.trend.show(lists, end, spanMs, heard);
    setText(this.range, range === null ? "" : this.words(range, Math.min(spanMs, end - lists[0][0][0])));
  }

  words(range, length) {
    const [least, most] = range.map((value) => this.form(value));
    return least === most ? `steady for ${span(length)}` : `${least} to ${most} in ${span(length)}`;
  }
}

/** Its elements are made once, and only what changed is written. */
export class Tile {
  constructor(title, ...more) {
    this.origin = mark();
    this.text = make("b");
    this.unit = make("small");
    this.value = make("dd", "value", this.text, this.unit);
    this.more = make("dd", "more");
    this.element = make("div", "tile", make("dt", "", title, this.origin), this.value, this.more, ...more);
  }

  /** Show `{text, unit, more, grade}`, of which only the text must be; null: it is not known. */
  show(told, origin) {
    const { text, unit = "", more = "", grade = "" } = told ?? NOTHING;
    setText(this.text, text);
    this.value.title = text; // there may be no room for it
    setText(this.unit, unit);
    setText(this.more, more);
    this.value.className = `value ${grade}`;
    setMark(this.origin, told === null ? "unknown" : origin);
  }
}
