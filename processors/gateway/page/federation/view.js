// The federation: the mesh as a picture, its numbers, its syncs, its peers.

import { make } from "/static/core/dom.js";
import { bytes, number, rate } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { Tiles } from "/static/elements/tiles.js";
import { graded } from "/static/federation/peers.js";
import "/static/federation/mesh.js";
import "/static/federation/peer_table.js";
import "/static/federation/sync_feed.js";
import "/static/federation/talkers.js";

const percent = (value) => ({ text: number(value, value === 100 ? 0 : 1), unit: "%", grade: graded(value) });
const count = (value) => ({ text: number(value), unit: "" });
const ms = (value) => ({ text: number(value, value < 100 ? 1 : 0), unit: "ms" });
const perSecond = (value) => ({ text: rate(value), unit: "/s" });

function transfer(value) {
  const [text, unit] = bytes(value);
  return { text, unit: `${unit}/s` };
}

// The other two of the latencies beside the first.
function slower(summary) {
  const words = ["p95", "p99"].map((name) => [name, summary[`latency_${name}`]]);
  const known = words.filter(([, value]) => value !== undefined);
  return known.map(([name, value]) => `${name} ${ms(value).text}`).join(" \u00b7 ");
}

const TILES = [
  { title: "Network health", field: "network_health", groups: ["peers"], form: percent,
    more: () => "peers that are online" },
  { title: "Data integrity", field: "data_integrity", groups: ["peers", "sync"], form: percent,
    more: () => "by trust and syncs" },
  { title: "Peers online", field: "online_peers", groups: ["peers"], form: count,
    more: ({ total_peers: total }) => (total === undefined ? "" : `of ${number(total)} known`) },
  { title: "Latency p50", field: "latency_p50", groups: ["peers"], form: ms, more: slower,
    lines: ["latency_p50", "latency_p95", "latency_p99"] },
  { title: "Active syncs", field: "active_syncs", groups: ["sync"], form: count, more: () => "pairs, last 10 s" },
  { title: "Syncs", field: "sync_rate", groups: ["sync"], form: perSecond, more: () => "mean of 60 s" },
  { title: "Transfer", field: "sync_bytes_rate", groups: ["sync"], form: transfer, more: () => "mean of 60 s" },
  { title: "Syncs succeeded", field: "sync_success_rate", groups: ["sync"], form: percent, more: () => "of 60 s" },
];

class Federation extends Part {
  build() {
    const names = ["mesh", "sync-feed", "peer-table", "talkers"];
    const parts = names.map((name) => make(`pulse-${name}`));
    const tiles = new Tiles("federation", TILES);
    this.append(make("h2", "hidden", "Federation mesh"), tiles, make("div", "federation", ...parts));
  }
}

customElements.define("pulse-federation", Federation);
