// A peer's latency since the page shows this peer.

import { make, setText } from "/static/core/dom.js";
import { number, span } from "/static/core/format.js";
import { Trend } from "/static/elements/trend.js";

const STEP_MS = 2000;
const MOST = 300;
const SHORTEST_MS = 60 * 1000;

export class LatencyLine {
  constructor() {
    this.samples = []; // [ms of the bus, ms or null], oldest first, one a step
    this.trend = new Trend(1);
    this.range = make("dd", "range");
    this.elements = [make("dd", "line", this.trend.svg), this.range];
  }

  clear() {
    this.samples = [];
  }

  /** What it was at a moment, null if that is unknown. Of those of one step the newest is kept. */
  add(ts, latency) {
    const { samples } = this;
    if (samples.length > 1 && ts - samples.at(-2)[0] < STEP_MS) samples.pop();
    samples.push([ts, latency]);
    if (samples.length > MOST) samples.shift();
  }

  draw(now) {
    const length = this.samples.length > 0 ? now - this.samples[0][0] : 0;
    const range = this.trend.show([this.samples], now, Math.max(SHORTEST_MS, length));
    setText(this.range, range === null ? "" : this.words(range, length));
  }

  words([least, most], length) {
    if (least === most) return `steady for ${span(length)}`;
    return `${number(least, 1)} to ${number(most, 1)} in ${span(length)}`;
  }
}
