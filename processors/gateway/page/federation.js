// The federation half: tiles, the picture of the mesh, the table of peers, the feed of syncs.

import { DASH, bytes, number, plain, rate } from "/static/format.js";
import { PeerTable, showFeed } from "/static/lists.js";
import { drawMesh } from "/static/mesh.js";
import { Tiles } from "/static/tiles.js";

const at = (id) => document.getElementById(id);
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

export class Federation {
  mark = "Simulated ids begin with sim-.";

  constructor() {
    this.tiles = new Tiles(at("tiles"), TILES);
    this.table = new PeerTable(at("columns"), at("rows"), at("peers-note"));
    this.peers = []; // those of the newest state
    new ResizeObserver(() => this.showMesh()).observe(at("mesh"));
  }

  show(state) {
    this.peers = state.peers;
    this.tiles.show(state);
    this.table.show(state);
    showFeed(at("feed"), state);
    this.showMesh();
  }

  showMesh() {
    drawMesh(at("mesh"), this.peers, (peer) => plain(peer.name));
    const active = this.peers.filter((peer) => peer.status !== "idle").length;
    const words = `Picture of the mesh: ${active} of ${this.peers.length} shown peers are online`;
    at("mesh").setAttribute("aria-label", words);
  }
}
