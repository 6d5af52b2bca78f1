// A small line of what a value was. Where it was unknown, the line is broken.

import { draw } from "/static/core/dom.js";

const WIDTH = 100;
const HEIGHT = 28;
const EDGE = 2;

/** `[least, greatest]` of some series; null if nothing of them is known. */
export function bounds(lists) {
  let [least, most] = [Infinity, -Infinity];
  for (const series of lists) {
    for (const [, value] of series) {
      if (value === null) continue;
      if (value < least) least = value;
      if (value > most) most = value;
    }
  }
  return least === Infinity ? null : [least, most];
}

/** The path of a series in steps: a value holds until the next one, the last until `x(end)`. */
export function stepped(series, end, x, y) {
  let path = "";
  let before = null;
  for (const [moment, value] of series) {
    if (before !== null) path += `H${x(moment)}`;
    if (value !== null) path += before === null ? `M${x(moment)} ${y(value)}` : `V${y(value)}`;
    before = value;
  }
  return before === null ? path : `${path}H${x(end)}`;
}

export class Trend {
  /** With room for `count` lines on one scale. */
  constructor(count) {
    this.paths = Array.from({ length: count }, (_, index) => draw("path", { d: "", class: `trace t${index}` }));
    const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
    this.svg = draw("svg", { ...box, class: "trend", "aria-hidden": "true" }, ...this.paths);
  }

  /** Show series, known until `heard`, over the stretch of `spanMs` before `end`. Returns their bounds. */
  show(lists, end, spanMs, heard = end) {
    const range = bounds(lists);
    const [least, most] = range ?? [0, 0];
    const x = (moment) => (WIDTH * Math.max(0, 1 - (end - moment) / spanMs)).toFixed(2);
    const share = (value) => (most === least ? 0.5 : (value - least) / (most - least));
    const y = (value) => (HEIGHT - EDGE - share(value) * (HEIGHT - 2 * EDGE)).toFixed(1);
    lists.forEach((series, index) => this.paths[index].setAttribute("d", stepped(series, heard, x, y)));
    return range;
  }
}
