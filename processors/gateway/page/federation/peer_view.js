// A peer's own view: what is known of it, its syncs, and with whom it has them.

import { make, setText } from "/static/core/dom.js";
import { moment, number } from "/static/core/format.js";
import { worst } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { route } from "/static/core/router.js";
import { region } from "/static/elements/panel.js";
import { nameOf } from "/static/federation/columns.js";
import { PeerFacts } from "/static/federation/peer_facts.js";
import { rowOf } from "/static/federation/peers.js";
import { Ranking } from "/static/federation/ranking.js";
import { outcome } from "/static/federation/sync_feed.js";

const LEFT = 1000; // peers that left which are remembered; those that left first are forgotten
const PARTNERS = 12;

class Peer extends Part {
  static channels = ["peers", "sync", "federation"];

  build() {
    this.peer = null; // whose view it is; null before the first
    this.before = null; // the newest roster; null while it is unknown
    this.left = new Map(); // when a peer left, as this page saw it, and its last row, by id
    this.name = make("h2");
    this.under = make("span", "id");
    this.notice = make("p", "notice");
    this.facts = new PeerFacts();
    this.share = make("p", "success");
    this.partners = new Ranking(PARTNERS, number);
    this.back = make("a", "", "\u2190 All peers");
    this.back.href = "#/federation";
    this.feed = make("pulse-sync-feed", "one");
    const title = make("h3", "", "Partners", make("small", "", "in the syncs that are shown"));
    const partners = region("partners", title, title, this.share, this.partners.element);
    const heading = make("div", "whom", this.back, this.name, this.under);
    this.append(heading, this.notice, this.facts.element, make("div", "one-peer", this.feed, partners));
    addEventListener("hashchange", (event) => this.follow(event));
  }

  // The way back leads to the table as it was left; which moment is shown is another matter.
  follow({ oldURL }) {
    const [path, query] = new URL(oldURL).hash.split("?");
    const parameters = new URLSearchParams(query);
    for (const name of ["at", "speed"]) parameters.delete(name);
    if (path === "#/federation") this.back.href = parameters.size > 0 ? `${path}?${parameters}` : path;
  }

  take({ channel, changed, value, ts }) {
    if (channel !== "peers") return;
    if (changed === null) this.left.clear();
    for (const [id, row] of Object.entries(changed ?? {})) if (row === null) this.note(id, ts);
    this.before = value;
    if (this.peer === null) return;
    if (changed === null) this.facts.line.clear();
    if (changed === null || Object.hasOwn(changed, this.peer)) this.sample(ts);
  }

  note(id, at) {
    this.left.set(id, { at, row: rowOf(this.before, id) });
    if (this.left.size > LEFT) this.left.delete(this.left.keys().next().value);
  }

  sample(ts) {
    this.facts.line.add(ts, rowOf(this.before, this.peer)?.latency_ms ?? null);
  }

  choose(id) {
    this.peer = id;
    this.facts.line.clear();
    if (this.before !== null) this.sample(this.store.now());
    this.feed.choose(id);
  }

  draw() {
    const { id } = route();
    if (id === null) return;
    if (id !== this.peer) this.choose(id);
    const row = rowOf(this.store.value("peers"), id);
    const left = row === null ? (this.left.get(id) ?? null) : null;
    this.showName(row ?? left?.row ?? null);
    this.showNotice(row, left);
    const [now, origin] = [this.store.now(), this.store.origin("peers")];
    this.facts.show(row ?? left?.row ?? null, now, row === null ? worst(["stale", origin]) : origin);
    this.facts.line.draw(now, this.store.standing.kind === "connected");
    this.showSyncs();
  }

  tick() {
    this.draw();
  }

  showName(row) {
    const name = row === null ? this.peer : nameOf(row);
    setText(this.name, name);
    setText(this.under, name === this.peer ? "" : this.peer);
  }

  showNotice(row, left) {
    setText(this.notice, row === null ? this.whyNot(left) : "");
    this.notice.hidden = this.notice.textContent === "";
  }

  whyNot(left) {
    if (this.store.unreached("peers")) return "The roster of that moment is not kept any more.";
    if (this.store.value("peers") === null) return ""; // for a moment only: its values say that they are unknown
    if (left !== null) return `This peer left the roster at ${moment(left.at)}: this is what was known of it last.`;
    return "This peer is not known: it is not in the roster. One without a heartbeat leaves it after an hour.";
  }

  // Of the syncs that are shown: how many succeeded, and who the other ends are.
  showSyncs() {
    const { records } = this.feed;
    const done = records.filter((record) => outcome(record) === "complete").length;
    const failed = records.filter((record) => outcome(record) === "failed").length;
    const finished = done + failed;
    const percent = number((100 * done) / finished, 1);
    const share = `${number(done)} of ${number(finished)} finished syncs succeeded, ${percent} %`;
    setText(this.share, finished === 0 ? "No finished sync is shown." : share);
    this.showPartners(records);
  }

  showPartners(records) {
    const counts = new Map();
    for (const { from, to } of records) {
      const other = from === this.peer ? to : from;
      counts.set(other, (counts.get(other) ?? 0) + 1);
    }
    this.partners.show([...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)));
  }
}

customElements.define("pulse-peer", Peer);
