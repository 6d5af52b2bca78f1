// What this page costs, by its own measure.

import { setText } from "/static/core/dom.js";
import { DASH, UNKNOWN, bytes, number } from "/static/core/format.js";
import { measure } from "/static/core/frames.js";
import { Part } from "/static/core/part.js";
import { Panel, facts } from "/static/elements/panel.js";

const NAMES = ["Frames a second", "Longest frame", "Updates a second", "Peers held", "Heap"];

class Meter extends Part {
  build() {
    const [list, values] = facts(NAMES);
    this.values = values;
    this.counted = null; // how many updates there were, and when, ms; null before they were counted
    this.panel = new Panel("meter", "This page", list);
    this.panel.origin.remove();
    this.append(this.panel.element);
  }

  draw() {
    if (this.counted === null) this.tick();
  }

  tick() {
    const { updates } = this.store;
    const [frames, heap, peers, before] = [measure(), performance.memory, this.store.value("peers"), this.counted];
    this.counted = { updates, at: performance.now() };
    const texts = [
      frames === null ? `${DASH} nothing moved` : number(frames.perSecond, 1),
      frames === null ? DASH : `${number(frames.worstMs, 1)}\u00a0ms`,
      before === null ? DASH : number((1000 * (updates - before.updates)) / (this.counted.at - before.at)),
      peers === null ? UNKNOWN : number(Object.keys(peers).length),
      heap === undefined ? `${DASH} not told here` : bytes(heap.usedJSHeapSize).join("\u00a0"),
    ];
    texts.forEach((text, index) => setText(this.values[index], text));
  }
}

customElements.define("pulse-meter", Meter);
