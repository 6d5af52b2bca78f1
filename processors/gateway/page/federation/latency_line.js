// A peer's latency since the page shows this peer.

import { number } from "/static/core/format.js";
import { Course } from "/static/elements/tile.js";

const STEP_MS = 2000;
const MOST = 300;
const SHORTEST_MS = 60 * 1000;

export class LatencyLine extends Course {
  samples = []; // [ms of the bus, ms or null], oldest first, one a step

  constructor() {
    super(1, (latency) => number(latency, 1));
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

  /** At a moment; what was heard last holds until then only while something is heard. */
  draw(now, isHeard) {
    const { samples } = this;
    const length = samples.length > 0 ? now - samples[0][0] : 0;
    this.show([samples], now, Math.max(SHORTEST_MS, length), isHeard ? now : samples.at(-1)?.[0]);
  }
}
