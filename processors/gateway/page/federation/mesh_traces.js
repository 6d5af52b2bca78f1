// The syncs of the picture: lights that run from one peer to the other, and which pairs had one of late.

import { SIZES } from "/static/federation/mesh_shapes.js";

const MOST_LIGHTS = 200;
const RUN_MS = 900;
const CROSS_MS = 500; // for which the end of a failed one is marked
const BATCH_MS = 100; // over which what comes at once began
const TAIL = 7; // copies behind a light
const TAIL_STEP = 0.022; // between them, of the way
const BOW = 0.14; // of a path, by its length
const MOST_PAIRS = 300;
const PAIR_MS = 10000; // for which a pair is shown

/** The place of a sync's colour: finished, under way, failed. */
export const toneOf = ({ ok }) => (ok === true ? 0 : ok === false ? 2 : 1);

// 1 KiB has the third size, 100 MiB the last.
const sizeOf = (bytes) => Math.min(SIZES - 1, Math.max(1, Math.floor(Math.log10(bytes + 1)) - 1));

/** Where the bow of a path has its control point: there and back bend to different sides. */
export const bowX = (from, to) => (from.x + to.x) / 2 - (to.y - from.y) * BOW;
export const bowY = (from, to) => (from.y + to.y) / 2 + (to.x - from.x) * BOW;

/** So many lights at most: a new one takes the place of the oldest. Their ends are nodes, which may move. */
export class Lights {
  slots = Array.from({ length: MOST_LIGHTS }, () => ({ from: null, to: null, tone: 0, size: 0, begin: 0, end: 0 }));
  next = 0;

  /** New syncs at a moment of the picture frames, ms; `ends(record)` gives the two nodes of one. */
  add(records, ends, now) {
    for (const record of records.slice(-MOST_LIGHTS)) {
      const [from, to] = ends(record);
      if (from === to) continue; // both are not drawn
      const begin = now + Math.min(BATCH_MS, Math.max(0, record.ts - records[0].ts));
      const end = begin + RUN_MS + (record.ok === false ? CROSS_MS : 0);
      const slot = this.slots[this.next++ % MOST_LIGHTS];
      Object.assign(slot, { from, to, begin, end, tone: toneOf(record), size: sizeOf(record.bytes) });
    }
  }

  /** Let all go out. */
  clear() {
    for (const slot of this.slots) slot.from = slot.to = null; // a peer that left is not held
  }

  /** Put all on a layer. Returns whether there are any. */
  paint(layer, shapes, now) {
    let isLit = false;
    for (const slot of this.slots) {
      if (slot.from === null) continue;
      if (now >= slot.end) slot.from = slot.to = null;
      else paintLight(layer, shapes, slot, (now - slot.begin) / RUN_MS);
      isLit = true;
    }
    return isLit;
  }
}

function paintLight(layer, shapes, { from, to, tone, size }, share) {
  if (share >= 1) {
    layer.put(shapes.cross, to.x, to.y);
    return;
  }
  const [bendX, bendY] = [bowX(from, to), bowY(from, to)];
  for (let step = TAIL; step >= 0; step -= 1) {
    const way = share - step * TAIL_STEP;
    if (way < 0) continue;
    const done = way * way * (3 - 2 * way);
    const rest = 1 - done;
    const x = rest * rest * from.x + 2 * rest * done * bendX + done * done * to.x;
    const y = rest * rest * from.y + 2 * rest * done * bendY + done * done * to.y;
    const light = shapes.lights[tone][Math.max(0, size - (step >> 1))];
    layer.put(step === 0 ? light.head : light.tail, x, y);
  }
}

/** The newest sync of each pair that had one within ten seconds. */
export class Pairs {
  held = new Map(); // the newest last

  add(record) {
    const key = JSON.stringify([record.from, record.to]);
    this.held.delete(key);
    this.held.set(key, record);
    if (this.held.size > MOST_PAIRS) this.held.delete(this.held.keys().next().value);
  }

  clear() {
    this.held.clear();
  }

  /** Forget those that are too long ago at `now`, ms of the bus's clock. Returns whether there were any. */
  expire(now) {
    const { size } = this.held;
    for (const [key, { ts }] of this.held) if (ts <= now - PAIR_MS) this.held.delete(key);
    return this.held.size < size;
  }
}
