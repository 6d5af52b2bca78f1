// The sources: one row each. Trouble comes first, everything else in the order of the flow.

import { make, setText } from "/static/core/dom.js";
import { DASH, moment, number, span } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { Panel, arrange, scrolling } from "/static/elements/panel.js";
import { SilenceDialog } from "/static/pipeline/silence.js";

const FLOW = ["peers", "sync", "discovery", "reasoning", "code", "federation", "memory"];
const STATES = ["stale", "live", "simulated", "down"];
const COLUMNS = [
  ["Source", "name"], ["State", "state"], ["Since", "since"], ["Why", "why"], ["Answered", "number"],
  ["Published", "number"], ["Rejected", "number"], ["Silence", "silence"],
];

const isTrouble = ({ source, state }) => state === "stale" && !source.silenced_until;

function inOrder(one, other) {
  const flow = FLOW.indexOf(one.source.group) - FLOW.indexOf(other.source.group);
  return isTrouble(other) - isTrouble(one) || flow || (one.name < other.name ? -1 : 1);
}

// Of a table whose rows become cards, browsers forget that it was one.
function cell(name, className, role, ...content) {
  const made = make(name, className, ...content);
  made.setAttribute("role", role);
  return made;
}

class Row {
  constructor(name, pressed) {
    this.name = name; // `<node>/<collector>`
    this.source = null; // what is shown; null before the first
    this.origin = mark();
    this.title = make("b");
    this.group = make("small");
    this.until = make("small");
    this.button = make("button", "plain operators");
    this.button.onclick = () => pressed(this);
    const cells = COLUMNS.map(([, className], index) =>
      cell(index ? "td" : "th", className, index ? "cell" : "rowheader"),
    );
    COLUMNS.forEach(([title], index) => (cells[index].dataset.label = title));
    [this.head, this.state, this.since, this.why, this.answered, this.published, this.rejected, this.silence] = cells;
    this.head.append(this.title, this.group);
    this.state.append(this.origin);
    this.silence.append(make("div", "", this.until, this.button));
    this.element = cell("tr", "", "row", ...cells);
  }

  draw({ source, state }, withNode, isPast) {
    const { collector, node, group, silenced_until: until, silence_reason: reason } = source;
    const why = [source.silent ? "not heard of any more" : "", source.reason, source.detail];
    this.source = source;
    setMark(this.origin, state);
    setText(this.title, collector);
    setText(this.group, withNode ? `${group} of ${node}` : group);
    setText(this.since, moment(source.since));
    setText(this.why, why.filter((part) => part !== "").join("; "));
    setText(this.published, number(source.published));
    setText(this.rejected, number(source.rejected));
    this.rejected.classList.toggle("fair", source.rejected > 0);
    setText(this.until, until ? `until ${moment(until)}${reason ? `: ${reason}` : ""}` : "");
    setText(this.button, until ? "End" : "Silence");
    this.button.setAttribute("aria-label", `${until ? "End the silence of" : "Silence"} ${collector} of ${node}`);
    this.button.disabled = isPast;
  }

  drawAge(now) {
    const answered = this.source.as_of ?? null;
    setText(this.answered, answered === null ? `${DASH} never` : `${span(now - answered)} ago`);
  }
}

class Sources extends Part {
  static channels = ["sources"];

  build() {
    this.rows = new Map(); // by `<node>/<collector>`
    this.said = cell("p", "said", "status");
    this.dialog = new SilenceDialog((words) => setText(this.said, words));
    this.body = cell("tbody", "", "rowgroup");
    const heads = COLUMNS.map(([title, className]) => cell("th", className, "columnheader", title));
    const head = cell("thead", "", "rowgroup", cell("tr", "", "row", ...heads));
    const table = cell("table", "", "table", head, this.body);
    this.panel = new Panel("sources", "Sources", scrolling("All sources", table), this.said, this.dialog.element);
    table.setAttribute("aria-labelledby", this.panel.heading.id);
    this.append(this.panel.element);
  }

  draw() {
    const isStale = this.store.origin("sources") === "stale";
    // What is below is shown once it need not move any more.
    if (this.store.value("sources") !== null || this.store.unreached("sources")) this.dataset.known = "";
    const sources = Object.entries(this.store.value("sources") ?? {}).map(([name, source]) => {
      // What called itself live and is not heard of any more is stale, whatever it said last.
      return { name, source, state: this.store.asHeard(source.state, isStale || source.silent) };
    });
    sources.sort(inOrder);
    const withNode = new Set(sources.map(({ source }) => source.node)).size > 1;
    arrange(this.body, this.rows, sources.map(({ name }) => name), (name) => new Row(name, (row) => this.press(row)));
    for (const each of sources) this.rows.get(each.name).draw(each, withNode, this.store.shown.past);
    this.panel.say(this.store.origin("sources"), this.words(sources.map(({ state }) => state)));
    this.tick();
  }

  words(states) {
    if (this.store.unreached("sources")) return "the streams do not reach back so far";
    if (states.length === 0) return "none was heard of yet";
    const counts = STATES.map((state) => [states.filter((each) => each === state).length, state]);
    return counts.filter(([count]) => count > 0).map(([count, state]) => `${number(count)} ${state}`).join(", ");
  }

  press(row) {
    if (row.source.silenced_until) this.dialog.end(row);
    else this.dialog.open(row);
  }

  tick() {
    const now = this.store.now();
    for (const row of this.rows.values()) row.drawAge(now);
  }
}

customElements.define("pulse-sources", Sources);
