// The log: reasoning sessions as they come, newest first, each with its severity.

import { make, setText } from "/static/core/dom.js";
import { UNKNOWN, clock, moment, number } from "/static/core/format.js";
import { mark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { chosenNode, nodesOf } from "/static/memory/choice.js";
import { PausedList } from "/static/elements/paused_list.js";
import { Panel } from "/static/elements/panel.js";

const MOST = 200;
const SEVERITIES = ["warning", "info", "consolidation"];

function row({ ts, severity, message, node, source }) {
  const time = make("time", "", clock(ts));
  time.title = moment(ts);
  const who = make("span", "who", mark(source, { short: true }), make("span", "", node));
  return make("li", "", time, make("span", `severity ${severity}`, severity), make("span", "message", message), who);
}

class SessionLog extends Part {
  static channels = ["logs", "memory"];

  build() {
    this.left = new Set(); // severities that are not shown
    this.counts = SEVERITIES.map(() => make("b"));
    this.list = make("ol", "scroll log");
    this.list.tabIndex = 0;
    const empty = (isKnown) => this.empty(isKnown);
    const accepts = (record) => this.isOfNode(record) && !this.left.has(record.severity);
    this.rows = new PausedList(this.list, { most: MOST, render: row, empty, changed: () => this.changed(), accepts });
    this.panel = new Panel("sessions", "Sessions", this.buildFilters(), this.list);
    this.list.setAttribute("aria-labelledby", this.panel.heading.id);
    this.append(this.panel.element);
  }

  buildFilters() {
    this.filters = SEVERITIES.map((severity, index) =>
      make("button", "plain", make("span", `severity ${severity}`, severity), this.counts[index]));
    SEVERITIES.forEach((severity, index) => (this.filters[index].onclick = () => this.toggle(severity)));
    return make("div", "filters", ...this.filters, this.rows.note, this.rows.button);
  }

  toggle(severity) {
    if (!this.left.delete(severity)) this.left.add(severity);
    this.changed();
  }

  isOfNode({ node }) {
    return [null, node].includes(chosenNode());
  }

  empty(isKnown) {
    if (this.store.unreached("logs")) return "The log does not reach so far back.";
    if (!isKnown) return UNKNOWN;
    return this.rows.records.length > 0 ? "None of these sessions is chosen." : "No session was seen yet.";
  }

  take({ records, snapshot, skipped }) {
    if (records !== undefined) this.rows.take(records, { snapshot, skipped });
  }

  draw() {
    if (this.store.unreached("logs")) this.rows.forget();
    const records = this.rows.records.filter((each) => this.isOfNode(each));
    SEVERITIES.forEach((severity, index) => {
      this.filters[index].setAttribute("aria-pressed", !this.left.has(severity));
      setText(this.counts[index], number(records.filter((each) => each.severity === severity).length));
    });
    this.list.classList.toggle("several", Object.keys(nodesOf(this.store)).length > 1);
    this.panel.say(this.store.origin("memory", "reasoning"), "newest first");
    this.rows.draw();
  }
}

customElements.define("pulse-session-log", SessionLog);
