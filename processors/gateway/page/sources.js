// The sources: one row each, with its state by colour, shape and word, and why.

import { make, setText } from "/static/dom.js";
import { DASH, moment, number, span } from "/static/format.js";

const EVERY_MS = 5000;
const SOON_MS = 300;
const COLUMNS = ["Source", "State", "Since", "Why", "Last answer", "Published", "Rejected"];

const at = (id) => document.getElementById(id);

// What called itself live and is not heard of any more is stale, whatever it said last.
function stateOf(source, unheard) {
  return source.state === "live" && unheard ? "stale" : source.state;
}

function why(source, unheard) {
  return [unheard ? "not heard of any more" : "", source.reason, source.detail].filter((part) => part !== "").join("; ");
}

// One row; its cells are made once, and only their texts change.
class Row {
  constructor(source) {
    this.note = make("small");
    this.word = make("b");
    const cells = COLUMNS.map((title, index) => {
      const cell = make(index === 0 ? "th" : "td", index > 3 ? "number" : "");
      cell.setAttribute("role", index === 0 ? "rowheader" : "cell");
      cell.dataset.label = title;
      return cell;
    });
    cells[0].scope = "row";
    cells[0].append(source.collector, this.note);
    cells[1].append(make("span", "shape"), this.word);
    [, this.state, this.since, this.why, this.answered, this.published, this.rejected] = cells;
    this.state.className = "state";
    this.since.className = "since";
    this.why.className = "why";
    this.element = make("tr", "", ...cells);
    this.element.setAttribute("role", "row");
  }

  show(source, unheard, withNode, skew) {
    const state = stateOf(source, unheard);
    setText(this.note, withNode ? source.node : "");
    this.state.dataset.state = state;
    setText(this.word, state.toUpperCase());
    setText(this.since, moment(source.since - skew));
    setText(this.why, why(source, unheard));
    setText(this.published, number(source.published));
    setText(this.rejected, number(source.rejected));
    this.rejected.classList.toggle("fair", source.rejected > 0);
  }

  showAge(source, now) {
    setText(this.answered, source.as_of === null ? `${DASH} never` : `${span(now - source.as_of)} ago`);
  }
}

export class Sources {
  constructor() {
    this.answer = null; // newest answer with sources in it; null before the first
    this.skew = 0; // the gateway's clock minus ours, ms
    this.lost = false; // whether the gateway, or its bus, does not answer
    this.rows = new Map(); // by node and collector
    this.due = 0; // timer of the next question
    at("source-columns").append(...COLUMNS.map((title, index) => {
      const head = make("th", index > 3 ? "number" : "", title);
      head.scope = "col";
      head.setAttribute("role", "columnheader");
      return head;
    }));
    setInterval(() => this.showAges(), 1000);
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
    this.ask();
  }

  // Something of the sources has changed: several changes of a moment are one question.
  changed() {
    this.askIn(SOON_MS);
  }

  askIn(ms) {
    clearTimeout(this.due);
    this.due = setTimeout(() => this.ask(), ms);
  }

  async ask() {
    clearTimeout(this.due);
    try {
      const response = await fetch("/api/v1/sources", { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
      this.take(await response.json());
    } catch {
      this.lost = true; // the gateway is away, or answers no JSON: the halves say so too
    }
    this.show();
    if (!document.hidden) this.askIn(EVERY_MS);
  }

  take(answer) {
    this.lost = answer.bus !== "up";
    if (this.lost && this.answer !== null) return; // what is shown are the last words
    this.answer = answer;
    this.skew = answer.timestamp - Date.now();
  }

  show() {
    const sources = this.answer?.sources ?? [];
    const several = new Set(sources.map((source) => source.node)).size > 1;
    const kept = new Map();
    sources.forEach((source, index) => {
      const key = JSON.stringify([source.node, source.collector]);
      const row = this.rows.get(key) ?? new Row(source);
      kept.set(key, row);
      row.show(source, this.unheard(source), several, this.skew);
      const body = at("source-rows");
      if (body.children[index] !== row.element) body.insertBefore(row.element, body.children[index] ?? null);
    });
    for (const [key, row] of this.rows) if (!kept.has(key)) row.element.remove();
    this.rows = kept;
    this.showAges();
    setText(at("sources-note"), this.note(sources));
  }

  showAges() {
    const now = Date.now() + this.skew;
    [...this.rows.values()].forEach((row, index) => row.showAge(this.answer.sources[index], now));
  }

  unheard(source) {
    return this.lost || source.silent;
  }

  note(sources) {
    if (sources.length === 0) return this.lost ? "not heard of: no answer" : "not heard of yet";
    const counts = new Map();
    for (const source of sources) {
      const state = stateOf(source, this.unheard(source));
      counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return [...counts].sort().map(([state, count]) => `${count} ${state}`).join(", ");
  }
}
