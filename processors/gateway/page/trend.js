// A small line of what a value was while the page was watching. Where it was unknown, the line is broken.

import { draw } from "/static/dom.js";
import { span } from "/static/format.js";

const SHORTEST_MS = 60 * 1000;
const LONGEST_MS = 5 * 60 * 1000;
const WIDTH = 100;
const HEIGHT = 24;
const EDGE = 2;

export class Trend {
  // form(value).text is how the value is written.
  constructor(form) {
    this.form = form;
    this.samples = []; // [ms, value], one a second at most; older ones than the line is long are dropped
    this.path = draw("path", { d: "" });
    const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
    this.svg = draw("svg", { ...box, class: "trend", "aria-hidden": "true" }, this.path);
  }

  add(now, value) {
    this.samples.push([now, value]);
    while (this.samples[0][0] < now - LONGEST_MS) this.samples.shift();
    this.path.setAttribute("d", this.line(now));
  }

  get bounds() {
    const values = this.samples.map(([, value]) => value).filter((value) => value !== null);
    return values.length === 0 ? null : [Math.min(...values), Math.max(...values)];
  }

  // The least and the greatest value of the line, in words.
  range() {
    if (this.bounds === null) return "";
    const [least, most] = this.bounds.map((value) => this.form(value).text);
    const length = span(this.samples.at(-1)[0] - this.samples[0][0]);
    return least === most ? `steady for ${length}` : `${least} to ${most} in ${length}`;
  }

  // Steps: a value holds until the next one.
  line(now) {
    if (this.bounds === null) return "";
    const [least, most] = this.bounds;
    const length = Math.max(SHORTEST_MS, now - this.samples[0][0]);
    const x = (moment) => (WIDTH * (1 - (now - moment) / length)).toFixed(2);
    const share = (value) => (most === least ? 0.5 : (value - least) / (most - least));
    const y = (value) => (HEIGHT - EDGE - share(value) * (HEIGHT - 2 * EDGE)).toFixed(1);
    let drawn = "";
    let before = null;
    for (const [moment, value] of this.samples) {
      if (before !== null) drawn += `H${x(moment)}`;
      if (value !== null) drawn += before === null ? `M${x(moment)} ${y(value)}` : `V${y(value)}`;
      before = value;
    }
    return drawn;
  }
}
