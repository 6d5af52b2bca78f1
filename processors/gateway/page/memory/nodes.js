// The nodes one by one, and their sum; each can be shown alone.

import { make, setText } from "/static/core/dom.js";
import { DASH, UNKNOWN, number, rate, span } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { choose, chosenNode, nodesOf } from "/static/memory/choice.js";
import { Panel, arrange } from "/static/elements/panel.js";

const SUM = null; // in the place of a node's id
// [title, unit, field, form]
const COLUMNS = [
  ["Ingestion", "sessions/s", "ingestion_rate", rate],
  ["Consolidation", "stages/s", "consolidation_rate", rate],
  ["De-duplication", "% of uses", "dedup_rate", (value) => number(value, 1)],
  ["Quarantine", "runs", "quarantine_count", (value) => number(value)],
  ["Sessions", "", "sessions_total", (value) => number(value)],
];
const classOf = (index) => (index === 0 ? "number" : "number wide");

class Row {
  constructor(node) {
    this.node = node;
    this.origin = mark("unknown", { short: true });
    this.button = make("button", "plain", node ?? "all nodes");
    this.button.onclick = () => choose(node);
    const head = make("th", "", make("div", "", this.origin, this.button));
    head.scope = "row";
    this.cells = COLUMNS.map((_, index) => make("td", classOf(index)));
    this.age = make("td", "number");
    this.element = make("tr", node === SUM ? "sum" : "", head, ...this.cells, this.age);
  }

  draw(values, origin) {
    setMark(this.origin, origin);
    this.button.setAttribute("aria-pressed", chosenNode() === this.node);
    COLUMNS.forEach(([, , field, form], index) => {
      const value = values?.[field];
      setText(this.cells[index], value === undefined ? UNKNOWN : form(value));
    });
  }
}

function head(title, unit, name) {
  const made = make("th", name, title, make("small", "", unit));
  made.scope = "col";
  return made;
}

class Nodes extends Part {
  static channels = ["memory"];

  build() {
    this.rows = new Map(); // by id, and of the sum
    this.body = make("tbody");
    const heads = COLUMNS.map(([title, unit], index) => head(title, unit, classOf(index)));
    const titles = make("tr", "", head("Node", "", ""), ...heads, head("Seen", "ago", "number"));
    const table = make("table", "", make("thead", "", titles), this.body);
    this.panel = new Panel("nodes", "Nodes", make("div", "scroll", table));
    this.append(this.panel.element);
  }

  draw() {
    const [summary, nodes] = [this.store.value("memory"), nodesOf(this.store)];
    const [told, all] = [Object.keys(nodes).sort(), summary?.nodes_total ?? 0];
    arrange(this.body, this.rows, [SUM, ...told], (node) => new Row(node));
    for (const node of told) this.rows.get(node).draw(nodes[node], this.store.asHeard(nodes[node].source));
    this.rows.get(SUM).draw(summary, this.store.origin("memory"));
    setText(this.rows.get(SUM).button, all > 1 ? `all ${number(all)} nodes` : "all nodes");
    const words = told.length < all ? `${told.length} of ${number(all)} shown` : number(all);
    this.panel.say(this.store.origin("memory"), summary ? `${words}, seen in the last hour` : UNKNOWN);
    this.tick();
  }

  tick() {
    const nodes = nodesOf(this.store);
    const newest = Math.max(...Object.values(nodes).map(({ seen }) => seen));
    for (const [node, { age }] of this.rows) {
      const seen = node === SUM ? newest : (nodes[node]?.seen ?? 0);
      setText(age, seen > 0 ? span(this.store.now() - seen) : DASH);
    }
  }
}

customElements.define("pulse-nodes", Nodes);
