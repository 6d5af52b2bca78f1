// The syncs as they come, newest first: of all peers, or of one.

import { make } from "/static/core/dom.js";
import { UNKNOWN, bytes, clock, moment } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { region } from "/static/elements/panel.js";
import { PausedList } from "/static/elements/paused_list.js";
import { peerLink } from "/static/federation/peers.js";
import { Viewport } from "/static/federation/viewport.js";

const ROW_REM = 3;
const MOST = 200; // shown
const SHOWN_MS = 250; // what comes is shown so often at most: nobody reads faster
const RECENT = 1000; // kept of all peers, for a view that is opened of one of them
const OUTCOMES = new Map([[true, "complete"], [false, "failed"]]);

/** What became of a sync. */
export const outcome = ({ ok }) => OUTCOMES.get(ok) ?? "under way";

function row(record) {
  const time = make("time", "", clock(record.ts));
  time.dateTime = new Date(record.ts).toISOString();
  time.title = moment(record.ts);
  const ends = make("span", "ends", peerLink(record.from), "\u2192", peerLink(record.to));
  for (const link of ends.querySelectorAll("a")) link.tabIndex = -1; // the arrow keys go there
  const result = make("span", "outcome", make("i"), outcome(record));
  const size = make("span", "number", bytes(record.bytes).join(" "));
  const what = make("span", "what", record.action || "sync");
  const made = make("li", "", time, ends, result, what, size, mark(record.source, { short: true }));
  made.dataset.outcome = outcome(record);
  return made;
}

// Rows of one height at places of their own: a new one moves the others as a picture, without laying them out again.
// Only those in view are in the document, and the one that has the focus.
class Rows extends PausedList {
  constructor(list, options) {
    super(list, options);
    this.all = []; // the elements of all that are shown
    this.view = new Viewport(list, ROW_REM, options.changed);
  }

  place(rows) {
    this.all = rows;
    const [first, last] = this.view.range(rows.length);
    const isThere = (row, index) => (index >= first && index < last) || row.contains(document.activeElement);
    rows.forEach((row, index) => isThere(row, index) && row.style.setProperty("--index", index));
    super.place(rows.filter(isThere));
    this.list.style.setProperty("--count", rows.length);
  }

  // The keyboard goes `step` rows on, to an end of that sync.
  move(step, end) {
    const at = this.all.findIndex((row) => row.contains(document.activeElement));
    const to = Math.max(0, Math.min(this.all.length - 1, at + step));
    const link = this.all[to]?.querySelectorAll("a")[end];
    if (link === undefined) return;
    this.view.reveal(to);
    this.place(this.all);
    link.focus({ preventScroll: true });
  }
}

class SyncFeed extends Part {
  static channels = ["sync", "federation"];

  build() {
    this.peer = null; // whose syncs these are; null: of all
    this.shownAt = -SHOWN_MS; // when the rows were drawn, ms
    this.later = 0; // has them drawn when it is time
    this.recent = []; // the newest of all peers, oldest first
    this.list = make("ol", "scroll syncs");
    this.list.tabIndex = 0;
    this.list.setAttribute("aria-label", "Syncs, newest first. Arrow keys go through them");
    this.list.addEventListener("keydown", (event) => this.press(event));
    const empty = (isKnown) => this.empty(isKnown);
    this.rows = new Rows(this.list, { most: MOST, render: row, empty, changed: () => this.drawNow() });
    this.origin = mark();
    const title = make("h3", "", "Syncs", this.origin, this.rows.note);
    this.list.style.setProperty("--row", `${ROW_REM}rem`);
    this.append(region("feed", title, make("div", "top", title, this.rows.button), this.list));
  }

  /** Show the syncs of a peer only. */
  choose(peer) {
    this.peer = peer;
    if (this.rows.isKnown) this.rows.take(this.recent.filter((each) => this.shows(each)), { snapshot: true });
    this.drawNow();
  }

  // What somebody does is seen at once.
  drawNow() {
    this.shownAt = -SHOWN_MS;
    this.changed();
  }

  /** The records that are kept of what is shown, newest first. */
  get records() {
    return this.rows.records;
  }

  shows({ from, to }) {
    return this.peer === null || from === this.peer || to === this.peer;
  }

  empty(isKnown) {
    if (this.store.unreached("sync")) return "The syncs of that moment are not kept any more.";
    if (!isKnown) return UNKNOWN;
    return this.peer === null ? "No sync was seen yet." : "No sync of this peer was seen lately.";
  }

  take({ channel, records, snapshot, skipped }) {
    if (channel !== "sync") return;
    this.recent = [...(snapshot ? [] : this.recent), ...records].slice(-RECENT);
    this.rows.take(records.filter((each) => this.shows(each)), { snapshot, skipped });
  }

  draw() {
    setMark(this.origin, this.store.origin("federation", "sync"));
    clearTimeout(this.later);
    const now = performance.now();
    if (now < this.shownAt + SHOWN_MS) {
      this.later = setTimeout(() => this.changed(), this.shownAt + SHOWN_MS - now);
      return;
    }
    this.shownAt = now;
    if (this.store.unreached("sync")) this.rows.forget();
    this.rows.draw();
  }

  // Up and down from row to row, right and left between the ends of a sync.
  press(event) {
    const page = this.rows.view.rows();
    const rows = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -MOST, End: MOST };
    const step = { ...rows, ArrowRight: 0, ArrowLeft: 0 }[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.rows.move(step, event.key === "ArrowRight" ? 1 : 0);
  }
}

customElements.define("pulse-sync-feed", SyncFeed);
