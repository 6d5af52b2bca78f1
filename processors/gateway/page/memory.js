// The memory half: tiles, the bar of trust, the constellation of confidence, the log of sessions.

import { Constellation } from "/static/constellation.js";
import { make, setText } from "/static/dom.js";
import { DASH, clock, moment, number, plain, rate } from "/static/format.js";
import { Tiles } from "/static/tiles.js";

const at = (id) => document.getElementById(id);
const count = (value) => ({ text: number(value), unit: "" });
const perSecond = (unit) => (value) => ({ text: rate(value), unit: `${unit}/s` });
const runs = (value) => ({ text: number(value), unit: "runs", grade: value === 0 ? "good" : "fair" });
const since = (_known, state) => (state.since === null ? "" : `since ${moment(state.since)}`);

const TILES = [
  ["Ingestion", "ingestion_rate", perSecond("sessions"), null, true],
  ["Consolidation", "consolidation_rate", perSecond("stages"), null, true],
  ["De-duplication", "dedup_rate", (v) => ({ text: number(v, 1), unit: "% of uses" }), null, true],
  ["Quarantine", "quarantine_count", runs, null, true],
  ["Sessions", "sessions_total", count, since],
  ["Stages", "stages_total", count, since],
  ["Consolidated", "consolidated_total", count, (known) => known("stages_total", (v) => `of ${number(v)} stages`)],
  ["Nodes", "nodes_total", count, () => "seen in the last hour"],
];

// In the order of the bar; "other" is every tier that ARK does not know.
const TIERS = ["core", "trusted", "sandbox", "external", "other"];

function trustRow(tier, files, all) {
  const share = all === 0 ? "" : `${number((100 * files) / all, 1)}\u00a0%`;
  const [name, amount] = [make("span", "", tier), make("b", "", number(files))];
  return make("li", "", make("i", `swatch ${tier}`), name, amount, make("span", "share", share));
}

function showTrust(state) {
  const tiers = state.trust_distribution;
  const all = TIERS.reduce((sum, tier) => sum + tiers[tier], 0);
  const unknown = state.unknown.includes("trust_distribution");
  setText(at("trust-note"), unknown ? "unknown" : `${number(all)} indexed files`);
  const parts = TIERS.filter((tier) => tiers[tier] > 0).map((tier) => {
    const part = make("i", tier);
    part.style.flexGrow = tiers[tier];
    return part;
  });
  at("trust-bar").replaceChildren(...parts);
  at("trust-bar").hidden = parts.length === 0;
  const none = make("li", "empty", `${DASH} unknown`);
  at("trust").replaceChildren(...(unknown ? [none] : TIERS.map((tier) => trustRow(tier, tiers[tier], all))));
}

function logItem(log, withNode) {
  const node = withNode ? [make("span", "", plain(log.node))] : [];
  return make(
    "li", "",
    make("span", "time", clock(Date.parse(log.timestamp))),
    make("span", "message", plain(log.message)),
    make("span", "what", make("span", `severity ${log.severity}`, log.severity), ...node),
  );
}

function showLog(state) {
  const items = [...state.logs].reverse().map((log) => logItem(log, state.nodes_total > 1));
  const none = state.unknown.includes("logs") ? `${DASH} unknown` : "No session was seen yet.";
  at("log").replaceChildren(...(items.length > 0 ? items : [make("li", "empty", none)]));
}

export class Memory {
  mark = "Simulated messages begin with [simulated].";

  constructor() {
    this.tiles = new Tiles(at("memory-tiles"), TILES);
    this.constellation = new Constellation(at("constellation"));
  }

  show(state) {
    this.tiles.show(state);
    this.constellation.show(state.unknown.includes("confidence_deltas") ? null : state.confidence_deltas);
    showTrust(state);
    showLog(state);
  }

  sample(now, state) {
    this.tiles.sample(now, state);
  }
}
