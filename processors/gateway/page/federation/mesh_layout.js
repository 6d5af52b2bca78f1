// Where each peer stands: on the band of its tier, nearer to the core the lower its latency, in the direction that its
// id gives it. Nothing here draws.

import { RISING } from "/static/federation/peers.js";

/** From the core outwards. */
export const BANDS = ["core", "trusted", "verified", "others"];

const MOST = 2000; // peers that are drawn
const EVEN = 60; // peers of a band that are spread evenly; of twice as many each has its own direction
const SPACE = 15; // between the neighbours of an even band, px
const CORE = 42; // from the middle to the first band, px
const GAP = 18; // between bands, px
const EDGE = 16; // around the outermost band, px
const NAMES = 124; // at its sides where there are names, px
const STRETCH = 2.1; // the longer reach by the shorter one
const LONGEST_MS = 1000; // of the latencies told apart
const NAME = 34; // half of a band's name, px: nobody stands on it
const SETTLE_MS = 100; // in which a peer comes nearer to its place by a factor of e

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

// 0 to 1 (exclusive) for an id, evenly also over ids that are alike (FNV-1a, then MurmurHash3's finalizer).
function hashOf(id) {
  let hash = 2166136261;
  for (let index = 0; index < id.length; index += 1) hash = Math.imul(hash ^ id.charCodeAt(index), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

// What is to be seen of a row first: offline before suspicious before its status.
function kindOf({ status, suspicion }) {
  if (status === "offline") return "offline";
  if (suspicion >= RISING) return "suspicious";
  return status === "online" || status === "syncing" ? status : "unknown";
}

const urgency = (kind) => (kind === "offline" ? 2 : kind === "suspicious" ? 1 : 0);

// Those in trouble, then those that are drawn already, or the picture would never rest, then those seen last.
function choose(ids, rows, drawn) {
  if (ids.length <= MOST) return ids;
  const ranks = [[], [], []];
  for (const id of ids) ranks[urgency(kindOf(rows[id])) > 0 ? 0 : drawn.has(id) ? 1 : 2].push(id);
  const chosen = [];
  for (const rank of ranks) {
    const room = MOST - chosen.length;
    if (room > 0 && rank.length > room) rank.sort((a, b) => rows[b].last_seen - rows[a].last_seen);
    chosen.push(...rank.slice(0, room));
  }
  return chosen;
}

/** The peers of the picture. */
export class Crowd {
  nodes = new Map(); // those drawn, by id; their `x` is null before they were placed
  drawn = []; // the same in the order in which they are drawn: offline and suspicious ones last, on top
  counts = { online: 0, syncing: 0, suspicious: 0, offline: 0, unknown: 0 }; // of all there are
  total = 0;
  round = 0; // rosters taken

  /** The roster, by id. Who left is forgotten. */
  take(rows) {
    const ids = Object.keys(rows);
    this.total = ids.length;
    this.round += 1;
    for (const kind of Object.keys(this.counts)) this.counts[kind] = 0;
    for (const id of ids) this.counts[kindOf(rows[id])] += 1;
    const layers = [[], [], []];
    for (const id of choose(ids, rows, this.nodes)) {
      const node = this.keep(id, rows[id]);
      layers[urgency(node.kind)].push(node);
    }
    this.drawn = layers.flat();
    for (const node of this.nodes.values()) if (node.round !== this.round) this.nodes.delete(node.id);
  }

  keep(id, row) {
    let node = this.nodes.get(id);
    if (node === undefined) {
      const place = { band: 0, depth: 0, x: null, y: null, toX: 0, toY: 0 };
      node = { id, hash: hashOf(id), row: null, kind: "", ...place, round: 0 };
      this.nodes.set(id, node);
    }
    node.round = this.round;
    node.kind = kindOf(row);
    if (node.row === row) return node;
    node.row = row;
    const band = BANDS.indexOf(row.tier);
    node.band = band < 0 ? BANDS.length - 1 : band;
    const latency = row.latency_ms ?? LONGEST_MS;
    node.depth = Math.log(clamp(latency, 1, LONGEST_MS)) / Math.log(LONGEST_MS);
    return node;
  }

  /** Give everyone a place in a picture of this size, px. Returns its frame. */
  place(width, height, hasNames) {
    const members = BANDS.map(() => []);
    for (const node of this.drawn) members[node.band].push(node);
    const frame = frameOf(width, height, members.map(({ length }) => length), hasNames);
    for (const band of frame.bands) spread(members[band.index], band, frame);
    return frame;
  }

  /** Move everyone on by so many ms, or to the place itself. Returns whether anyone is still under way. */
  advance(elapsedMs) {
    const share = 1 - Math.exp(-elapsedMs / SETTLE_MS);
    let isMoving = false;
    for (const node of this.drawn) {
      const [restX, restY] = [node.toX - node.x, node.toY - node.y];
      if (node.x === null || Math.abs(restX) + Math.abs(restY) < 0.6) {
        node.x = node.toX;
        node.y = node.toY;
      } else {
        node.x += restX * share;
        node.y += restY * share;
        isMoving = true;
      }
    }
    return isMoving;
  }

  /** The peer nearest to a point, at most `within` px away, or null. */
  nearest(x, y, within) {
    let [found, least] = [null, within];
    for (const node of this.drawn) {
      const distance = Math.hypot(node.x - x, node.y - y);
      // Of two at one place the one on top.
      if (distance <= least) [found, least] = [node, distance];
    }
    return found;
  }
}

// The middle of the picture, how far the outermost band reaches, px, and the used bands with their edges as shares of
// that. Bands are ellipses: a wide picture is filled. Empty ones take no room, large ones more.
function frameOf(width, height, counts, hasNames) {
  const [mostX, mostY] = [width / 2 - (hasNames ? NAMES : EDGE), height / 2 - EDGE];
  const reachX = Math.max(1, Math.min(mostX, mostY * STRETCH));
  const reachY = Math.max(1, Math.min(mostY, mostX * STRETCH));
  const reach = Math.min(reachX, reachY);
  const weights = counts.map((count) => (count === 0 ? 0 : Math.max(1, Math.round(Math.log10(count)))));
  const used = weights.filter((weight) => weight > 0).length;
  const room = Math.max(0, reach - CORE - GAP * (used - 1)) / weights.reduce((sum, weight) => sum + weight, 0);
  let edge = CORE;
  const bands = [];
  weights.forEach((weight, index) => {
    if (weight === 0) return;
    bands.push({ index, inner: Math.min(1, edge / reach), outer: Math.min(1, (edge + room * weight) / reach) });
    edge += room * weight + GAP;
  });
  return { x: width / 2, y: height / 2, width, height, reachX, reachY, reach, bands };
}

// Few are spread evenly in the order of their hashes, or they would hide each other; many stand where their own hash
// says; in between the one becomes the other.
function spread(members, band, frame) {
  const { length } = members;
  const own = clamp(length / EVEN - 1, 0, 1);
  if (own < 1) members.sort((a, b) => a.hash - b.hash || (a.id < b.id ? -1 : 1));
  const least = ((1 - own) * SPACE * length) / (2 * Math.PI * frame.reach);
  const inner = clamp(least, band.inner, band.outer);
  const phase = band.index % 2 === 0 ? 0.3 : 0.7; // bands of as many peers are not to make rays
  const free = 2 * Math.PI - (2 * NAME) / (frame.reachX * band.outer);
  members.forEach((node, rank) => {
    const turn = ((1 - own) * (rank + phase)) / length + own * node.hash - 0.5;
    const angle = turn * free + Math.PI / 2;
    const share = inner + (band.outer - inner) * node.depth;
    node.toX = frame.x + frame.reachX * share * Math.cos(angle);
    node.toY = frame.y + frame.reachY * share * Math.sin(angle);
  });
}
