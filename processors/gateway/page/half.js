// One half of the page: takes whole states from the gateway, shows the newest one a picture frame, and says where it
// comes from.

import { Connection } from "/static/connection.js";
import { setText } from "/static/dom.js";
import { clock, span } from "/static/format.js";
import { checkAccess } from "/static/login.js";

const WORDS = {
  live: "LIVE", stale: "STALE", simulated: "SIMULATED", disconnected: "DISCONNECTED", connecting: "CONNECTING",
};

export class Half {
  // name: of its path, and of its elements. view.show(state) shows a state; view.sample(now, state), if there is one, is
  // called once a second, with null while nothing is heard. onStanding() follows each look at where values come from.
  constructor(name, view, onStanding) {
    this.name = name;
    this.view = view;
    this.onStanding = onStanding;
    this.state = null; // newest whole state; null before the first
    this.skew = 0; // the gateway's clock minus ours, ms
    this.lostSince = null; // when the connection was lost, ms; null while it stands
    this.asked = false; // whether a picture frame has been asked for
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const url = `${scheme}//${location.host}/ws/${name}`;
    new Connection(url, (state, receivedAt) => this.take(state, receivedAt), (since) => this.lose(since));
    setInterval(() => this.second(), 1000);
  }

  get kind() {
    if (this.lostSince !== null) return "disconnected";
    return this.state === null ? "connecting" : this.state.source;
  }

  get word() {
    return WORDS[this.kind];
  }

  take(state, receivedAt) {
    this.state = state;
    this.skew = state.timestamp - receivedAt;
    this.lostSince = null;
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => this.show());
  }

  lose(since) {
    this.lostSince ??= since;
    checkAccess();
    this.showStanding();
  }

  show() {
    this.asked = false;
    this.showStanding();
    this.view.show(this.state);
  }

  second() {
    this.showStanding();
    this.view.sample?.(Date.now(), this.lostSince === null ? this.state : null);
  }

  showStanding() {
    const { kind, state } = this;
    const at = (part) => document.getElementById(`${this.name}${part}`);
    at("").dataset.state = at("-badge").dataset.state = kind;
    setText(at("-word"), WORDS[kind]);
    setText(at("-detail"), this.detail(kind));
    setText(at("-notice"), this.notice(kind));
    at("-notice").hidden = at("-notice").textContent === "";
    const newest = state === null ? null : state.as_of;
    const age = newest === null ? "unknown" : `${span(Date.now() + this.skew - newest)} old`;
    if (at("-age") !== null) setText(at("-age"), age);
    this.onStanding();
  }

  detail(kind) {
    if (kind === "disconnected") return `since ${clock(this.lostSince)}`;
    if (kind === "stale" && this.state.as_of !== null) return `since ${clock(this.state.as_of - this.skew)}`;
    return "";
  }

  notice(kind) {
    const { state } = this;
    if (kind === "disconnected") {
      const shown = state === null ? "" : " What is shown is the state of that moment.";
      return `The connection to the gateway was lost at ${clock(this.lostSince)}. Trying again by itself.${shown}`;
    }
    if (kind === "simulated") return `These values are simulated: no live source has been found yet. ${this.view.mark}`;
    if (kind !== "stale") return "";
    if (state.as_of === null) return "Nothing is known yet: no source has answered so far.";
    const groups = Object.keys(state.sources).filter((name) => state.sources[name] === "stale");
    return `No news from the sources of ${groups.join(" and ")}: what is shown are the last known values.`;
  }
}
