// The memory view: how the memory engines do, all together or one node alone.

import { make, setText } from "/static/core/dom.js";
import { moment, number, rate } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { Tiles } from "/static/elements/tiles.js";
import { choose, chosenNode, chosenValues } from "/static/memory/choice.js";
import "/static/memory/constellation.js";
import "/static/memory/nodes.js";
import "/static/memory/rates.js";
import "/static/memory/session_log.js";
import "/static/memory/trust.js";

const perSecond = (unit) => (value) => ({ text: rate(value), unit });
const percent = (value) => ({ text: number(value, 1), unit: "% of uses" });
const count = (value) => ({ text: number(value), unit: "" });
const runs = (value) => ({ text: number(value), unit: "runs", grade: value === 0 ? "good" : "fair" });
const since = ({ since: begin }) => (begin === undefined ? "" : `since ${moment(begin)}`);
const share = ({ consolidated_total: part, stages_total: all }) =>
  (all > 0 ? `${number((100 * part) / all, 1)} % of stages` : "");

const tile = (title, field, groups, form, more) => ({ title, field, groups, form, more });
const VALUES = [
  tile("Ingestion", "ingestion_rate", ["reasoning"], perSecond("sessions/s")),
  tile("Consolidation", "consolidation_rate", ["reasoning"], perSecond("stages/s")),
  tile("De-duplication", "dedup_rate", ["code"], percent),
  tile("Quarantine", "quarantine_count", ["code"], runs),
  tile("Sessions", "sessions_total", ["reasoning"], count, since),
  tile("Stages", "stages_total", ["reasoning"], count, since),
  tile("Consolidated", "consolidated_total", ["reasoning"], count, share),
];
const NODES = tile("Nodes", "nodes_total", ["reasoning", "code"], count, () => "seen in the last hour");

// The number of nodes is absent where there are none.
function summaryOf(store) {
  const summary = store.value("memory");
  return summary && { nodes_total: 0, ...summary };
}

class Memory extends Part {
  static channels = ["memory"];

  build() {
    this.whose = make("small");
    this.back = make("button", "plain", "Back to all nodes");
    this.back.onclick = () => choose(null);
    this.all = new Tiles("memory", [...VALUES, NODES], summaryOf);
    // The past of single nodes is not kept: their tiles have no lines.
    this.one = new Tiles("memory", VALUES.map((row) => ({ ...row, lines: [] })), chosenValues);
    const parts = ["rates", "constellation", "trust", "nodes", "session-log"].map((name) => make(`pulse-${name}`));
    const heading = make("div", "whose", make("h2", "", "Memory", this.whose), this.back);
    this.append(heading, this.all, this.one, make("div", "memory", ...parts));
  }

  draw() {
    const node = chosenNode();
    const [shown, other] = node === null ? [this.all, this.one] : [this.one, this.all];
    if (shown.hidden) shown.changed(); // it was not drawn meanwhile
    shown.hidden = false;
    other.hidden = true;
    this.back.hidden = node === null;
    setText(this.whose, node === null ? "all nodes together" : `node ${node} ${this.words()}`);
  }

  words() {
    const isTold = this.store.value("memory") === null || chosenValues(this.store) !== null;
    return isTold ? "alone" : "is not among those that are told";
  }
}

customElements.define("pulse-memory", Memory);
