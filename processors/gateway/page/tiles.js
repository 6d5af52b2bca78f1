// The tiles: one value each, an em dash and the word where it is unknown.

import { DASH, bytes, number, rate } from "/static/format.js";

const grade = (value) => (value >= 90 ? "good" : value >= 70 ? "fair" : "poor");
const percent = (value) => ({ text: number(value, value === 100 ? 0 : 1), unit: "%", grade: grade(value) });
const plainNumber = (value) => ({ text: number(value), unit: "" });

const TILES = [
  ["Network health", "network_health", percent],
  ["Data integrity", "data_integrity", percent],
  ["Peers online", "online_peers", plainNumber, (known) => known("total_peers", (v) => `of ${number(v)} known`)],
  ["Latency, mean", "avg_latency", (v) => ({ text: number(v, 1), unit: "ms" }), quantiles],
  ["Active syncs", "active_syncs", plainNumber, () => "pairs, last 10 s"],
  ["Syncs", "sync_rate", (v) => ({ text: rate(v), unit: "/s" }), () => "mean of 60 s"],
  ["Transfer", "sync_bytes_rate", (v) => { const [text, unit] = bytes(v); return { text, unit: `${unit}/s` }; }, () => "mean of 60 s"],
  ["Syncs succeeded", "sync_success_rate", percent, () => "of 60 s"],
];

function quantiles(known) {
  const parts = ["p50", "p95", "p99"].map((name) => `${name}\u00a0${known(`latency_${name}`, (v) => number(v, v < 100 ? 1 : 0)) || DASH}`);
  return parts.join(" · ");
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export class Tiles {
  constructor(list) {
    this.cells = TILES.map(([title]) => {
      const tile = element("div", "tile");
      const value = element("dd");
      const more = element("dd", "more");
      tile.append(element("dt", "", title), value, more);
      list.append(tile);
      return { value, more };
    });
  }

  show(state) {
    const unknown = new Set(state.unknown);
    const known = (field, form) => (unknown.has(field) ? "" : form(state[field]));
    TILES.forEach(([, field, form, more], index) => {
      const cell = this.cells[index];
      const shown = unknown.has(field) ? { text: DASH, unit: "unknown", grade: "unknown" } : form(state[field]);
      cell.value.className = shown.grade ?? "";
      cell.value.replaceChildren(shown.text, element("small", "", shown.unit));
      cell.more.textContent = more && !unknown.has(field) ? more(known) : "";
    });
  }
}
