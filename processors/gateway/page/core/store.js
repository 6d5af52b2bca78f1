// What the page knows: the newest of each channel, where it comes from, and which moment is shown.

import { Pulse } from "/static/client.js";
import { History } from "/static/core/history.js";
import { kindOf, worst } from "/static/core/origin.js";
import { changeAll } from "/static/core/part.js";

const CHANNELS = ["federation", "peers", "memory", "sync", "logs", "sources"];

/** Where the values of each half come from. */
export const GROUPS = { federation: ["peers", "sync"], memory: ["reasoning", "code"] };

const RATE = 10;
const HISTORY_MS = 10 * 60 * 1000;
const HISTORY_POINTS = 150;
const PRESENT_MS = 2000;

/** Tells "standing" and "shown" as events when these change. */
export class Store extends EventTarget {
  constructor(url) {
    super();
    this.pulse = new Pulse(url);
    this.parts = new Map(CHANNELS.map((channel) => [channel, new Set()]));
    this.histories = {};
    for (const half of ["federation", "memory"]) this.histories[half] = new History(half, HISTORY_MS, HISTORY_POINTS);
    this.standing = { kind: "connecting", since: null, reason: "" }; // `since`: of our clock, ms; null: not lost
    this.shown = { past: false }; // or `at`, ms of the bus, from which the past is played, and `speed`
    this.coming = null; // what is shown as soon as the first of it is there; null: nothing else
    this.startedAt = 0; // when what is shown began to play, ms of our clock
    this.states = new Map(); // newest state by channel
    this.refused = new Set(); // channels that the past does not reach
    this.problem = ""; // why what was asked for is not shown
    this.updates = 0; // how many came, ever
    this.heardAt = Date.now(); // when the newest came, ms of our clock
    this.offsetMs = 0; // the bus's clock minus ours
    setInterval(() => this.look(), 1000);
    this.follow({ past: false });
  }

  /** A part follows its channels from now on. */
  join(part) {
    for (const channel of part.constructor.channels) this.parts.get(channel).add(part);
  }

  /** A part follows nothing any more. */
  leave(part) {
    for (const channel of part.constructor.channels) this.parts.get(channel).delete(part);
  }

  /** The newest value of a channel that has a state, not to be changed; null while it is unknown. */
  value(channel) {
    return this.states.get(channel)?.value ?? null;
  }

  /**
   * What a channel is, or the worst of these groups of a summary: live, stale, simulated or unknown. What is not heard
   * of any more is not live.
   */
  origin(channel, ...groups) {
    const state = this.states.get(channel);
    if (state === undefined || state.value === null) return "unknown";
    if (state.asOf === null && Object.keys(state.value).length === 0) return "unknown";
    const all = GROUPS[channel] ?? [];
    if (all.length > 0 && all.every((group) => kindOf(state.value[group]) === "unknown")) return "unknown";
    const own = groups.length > 0 ? worst(groups.map((group) => kindOf(state.value[group]))) : (state.source ?? "live");
    return this.asHeard(own, state.stale);
  }

  /** What something that calls itself `kind` is now: what is not heard of any more is not live. */
  asHeard(kind, isStale = false) {
    return kind === "live" && (isStale || this.standing.kind !== "connected") ? "stale" : kind;
  }

  /** The last ten minutes of "federation" or "memory". */
  history(channel) {
    return this.histories[channel];
  }

  /** The moment of the bus's clock, ms. */
  present() {
    return Date.now() + this.offsetMs;
  }

  /** The moment that is shown, ms of the bus's clock. */
  now() {
    const { past, at, speed } = this.shown;
    if (!past) return this.present();
    return Math.min(this.present(), at + (Date.now() - this.startedAt) * speed);
  }

  /** Whether the past that is shown is longer ago than the stream of a channel reaches. */
  unreached(channel) {
    return this.refused.has(channel);
  }

  /** Show the past from the moment `at`, ms of the bus's clock, `speed` times as fast as it was; 0 stands still. */
  travel(at, speed) {
    this.follow({ past: true, at: Math.round(Math.min(at, this.present())), speed });
  }

  /** Show the present. */
  goLive() {
    if (this.shown.past || this.coming !== null) this.follow({ past: false });
  }

  // By another connection. What was shown stays until the first of what is to be shown has come.
  follow(shown) {
    this.subscription?.close();
    this.coming = shown;
    this.problem = "";
    const wish = shown.past ? { rate: RATE, at: shown.at, speed: shown.speed } : { rate: RATE };
    this.subscription = this.pulse.subscribe(CHANNELS, wish, {
      state: (update) => this.take(update),
      records: (update) => this.tell(update),
      outage: (update) => this.lose(update),
      refused: (update) => this.refuse(update),
      connected: () => this.connect(),
    });
  }

  lose({ reason, code }) {
    const { past } = this.coming ?? this.shown;
    if (!past || code !== "busy") return this.stand("lost", reason);
    // As many as may be are in the past already.
    this.follow({ past: false });
    this.problem = `The past cannot be shown now: ${reason}.`;
    return undefined;
  }

  connect() {
    this.offsetMs = this.subscription.offsetMs ?? this.offsetMs;
    this.begin();
    this.stand("connected", "");
    for (const history of Object.values(this.histories)) history.load(this.now());
  }

  // Everything is forgotten, and what is to be shown is shown.
  begin() {
    if (this.coming === null) return;
    this.startedAt = Date.now();
    this.states.clear();
    this.refused.clear();
    for (const history of Object.values(this.histories)) history.clear();
    this.show(this.coming);
  }

  show(shown) {
    this.coming = null;
    this.shown = shown;
    this.dispatchEvent(new Event("shown"));
    changeAll();
  }

  stand(kind, reason) {
    const isLost = kind === "lost" || kind === "refused";
    const since = isLost ? (this.standing.since ?? this.heardAt) : null;
    this.standing = { kind, since, reason };
    this.dispatchEvent(new Event("standing"));
    changeAll();
  }

  refuse({ channel, message }) {
    if (channel === undefined) return this.stand("refused", message);
    this.begin();
    this.refused.add(channel);
    return changeAll();
  }

  take(update) {
    const { channel, ts } = update;
    this.states.set(channel, update);
    this.histories[channel]?.add(update);
    const { past, at, speed } = this.shown;
    const isPresent = ts >= this.present() - PRESENT_MS && (speed > 0 || ts > at + PRESENT_MS);
    // The gateway goes on with the present by itself.
    if (past && isPresent && channel === "federation") this.arrive();
    this.tell(update);
  }

  tell(update) {
    this.updates += 1;
    if (!update.stale) this.heardAt = Date.now();
    for (const part of this.parts.get(update.channel)) {
      part.take(update);
      part.changed();
    }
  }

  // The past that was played has become the present.
  arrive() {
    if (this.coming !== null) return;
    if (this.refused.size > 0) this.follow({ past: false });
    else this.show({ past: false });
  }

  look() {
    this.offsetMs = this.subscription.offsetMs ?? this.offsetMs;
    if (this.shown.past && this.shown.speed > 0 && this.now() >= this.present()) this.arrive();
  }
}
