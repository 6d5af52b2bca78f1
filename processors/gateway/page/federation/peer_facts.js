// What is known of one peer, as tiles.

import { make } from "/static/core/dom.js";
import { bytes, moment, number, span } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Tile } from "/static/elements/tile.js";
import { LatencyLine } from "/static/federation/latency_line.js";
import { CERTAIN, setStatus, statusMark, suspected } from "/static/federation/peers.js";

const SUSPICIONS = { "": "heartbeats as usual", fair: "its heartbeat is late", poor: "counts as offline" };

const one = (text, unit, more, grade) => ({ text, unit, more, grade });

// What each tile says of a row; null where it is not known.
const FACTS = {
  Tier: ({ tier }) => (tier === undefined ? null : one(tier)),
  Suspicion: ({ suspicion }) => {
    const grade = suspected(suspicion);
    return one(number(suspicion, 1), `of ${CERTAIN}`, SUSPICIONS[grade], grade);
  },
  "Data shared": ({ data_shared: shared }) => one(...bytes(shared), "since it joined"),
  Latency: ({ latency_ms: latency, status }) => {
    if (latency === undefined) return null;
    return one(number(latency, 1), "ms", status === "offline" ? "when it was last heard" : "");
  },
  "Last seen": ({ last_seen: seen }, now) => one(span(now - seen), "ago", moment(seen)),
  "Learnt from": ({ learnt_from: from }) => one(from),
};

export class PeerFacts {
  constructor() {
    this.line = new LatencyLine();
    this.status = statusMark();
    this.origin = mark();
    this.facts = Object.keys(FACTS).map((title) => new Tile(title, ...(title === "Latency" ? this.line.elements : [])));
    const status = make("div", "tile", make("dt", "", "Status", this.origin), make("dd", "value", this.status));
    this.element = make("dl", "tiles", status, ...this.facts.map(({ element }) => element));
  }

  /** Show a row, null if nothing is known of the peer. */
  show(row, now, origin) {
    setStatus(this.status, row?.status ?? "unknown");
    setMark(this.origin, row === null ? "unknown" : origin);
    Object.values(FACTS).forEach((tell, index) => this.facts[index].show(row === null ? null : tell(row, now), origin));
  }
}
