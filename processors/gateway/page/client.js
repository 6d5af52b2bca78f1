// The gateway's channels, for any page and for Node from release 22 on. It depends on nothing.
//
//   const pulse = new Pulse("http://127.0.0.1:8101");
//   pulse.subscribe(["federation", "sync"], { rate: 10 }, { state: (update) => ..., records: (update) => ... });
//
// What follows comes once, in order, over any number of connections; where that cannot be, `reset` says so. Each
// subscription has a connection of its own: what is still under way for one that was closed reaches no other.

/**
 * @typedef {object} Wish what is asked for, as the protocol has it
 * @property {number} [rate] frames a second and channel, 10 by default; 0: every change
 * @property {string[]} [fields] of the state, of a row, or of a record; all by default
 * @property {number} [at] plays the past from this moment, ms since the epoch
 * @property {number} [speed] how fast the past is played; 0 shows the moment
 * @property {Object<string, string>} [since] positions of records that an earlier subscription had
 *
 * @typedef {object} State the whole state of a channel, after a change
 * @property {string} channel
 * @property {any} value an object, not to be changed; null for a peer that is not there
 * @property {any} changed the merge patch that led to it (null: gone); null if it begins anew
 * @property {?string} source live, stale or simulated, as the gateway says
 * @property {?number} asOf the moment for which it is right, ms
 * @property {number} ts when it was made, ms of the bus's clock
 * @property {boolean} stale whether nothing was heard of the gateway for so long that it may be otherwise by now
 * @property {number} skipped how many frames were left out before it
 *
 * @typedef {object} Records new records of a channel, oldest first
 * @property {string} channel
 * @property {any[]} records
 * @property {number} ts when they were sent, ms of the bus's clock
 * @property {?string} position where they end, for `since`
 * @property {boolean} snapshot whether they are the newest there are, and not what followed the last ones
 * @property {number} skipped how many were left out before them
 *
 * @typedef {object} Handlers
 * @property {(update: State) => void} [state]
 * @property {(update: Records) => void} [records]
 * @property {(update: {channel: string, reason: string}) => void} [reset] what was told cannot be continued
 * @property {(update: {reason: string, retryInMs: number, code?: number|string}) => void} [outage] the connection was
 *   lost, or not made; `code` is that of the gateway, if it closed it or said "busy"
 * @property {() => void} [connected] the connection stands: once after the beginning, and after each outage
 * @property {(update: {code: number|string, message: string, channel?: string}) => void} [refused] one channel of
 *   several is not told, if it is named; else all is closed: something is to be mended
 */

const SECOND_MS = 1000;
const CONNECT_MS = 10000;
const PROBE_MS = 3000;
const LEAST_MS = 250;
const MOST_MS = 15000;
const GOING_AWAY_MS = 2000;
const MAX_PIECES = 1000;
const RECORDS = ["sync", "logs"];
const GOING_AWAY = 1001;
const TOO_SLOW = 4008;
const FINAL = { 1008: "origin or token was refused", 4001: "the token has expired or was taken back" };

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** `target` after a JSON merge patch (RFC 7396). Both stay as they are; what has not changed is shared. */
export function merge(target, patch) {
  if (!isObject(patch)) return patch;
  // Without a prototype: a peer may be called __proto__.
  const merged = Object.assign(Object.create(null), isObject(target) ? target : null);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = merge(merged[name], value);
  }
  return merged;
}

// The pieces of a snapshot as one: objects by key, lists in order.
function putTogether(pieces) {
  if (pieces.length === 1) return pieces[0];
  return pieces.every(Array.isArray) ? pieces.flat() : Object.assign(Object.create(null), ...pieces);
}

// What is held of one channel. A frame that does not fit throws.
class Held {
  constructor(channel, position = null) {
    this.channel = channel;
    this.position = position; // to go on from; null: with a snapshot
    this.state = null; // the newest; null before the first, and of records
    this.pieces = []; // of a snapshot that is not complete yet
    this.skipped = 0; // left out before what comes next
  }

  forget() {
    this.position = this.state = null;
    this.pieces = [];
  }

  // Returns [handler, update], or null if nothing is to be told yet.
  take(frame) {
    switch (frame.type) {
      case "reset":
        this.forget();
        return ["reset", { channel: this.channel, reason: frame.reason }];
      case "skipped":
        this.skipped += frame.count;
        return null;
      case "snapshot":
        if (this.pieces.push(frame.data) > MAX_PIECES) throw new Error(`a snapshot of ${this.channel} never ends`);
        return frame.more ? null : this.tell(frame, putTogether(this.pieces.splice(0)), true);
      case "delta":
      case "event":
        return this.tell(frame, frame.data, false);
      default:
        return null;
    }
  }

  tell({ pos, ts, source, as_of: asOf }, data, snapshot) {
    const { channel, skipped } = this;
    this.position = pos ?? (snapshot ? null : this.position);
    this.skipped = 0;
    if (RECORDS.includes(channel)) {
      if (!Array.isArray(data)) throw new Error(`what came of ${channel} is no list`);
      if (data.length === 0 && !snapshot && skipped === 0) return null; // it only told the position
      return ["records", { channel, records: data, ts, position: this.position, snapshot, skipped }];
    }
    const before = snapshot ? { source: null, asOf: null } : this.state;
    if (before === null || (data !== null && !isObject(data))) throw new Error(`what came of ${channel} is no state`);
    this.state = {
      channel, value: snapshot ? data : merge(before.value, data), changed: snapshot ? null : data,
      source: source ?? before.source, asOf: asOf === undefined ? before.asOf : asOf, ts, stale: false, skipped,
    };
    return ["state", this.state];
  }
}

class Subscription {
  constructor(url, token, silentMs, channels, wish, handlers) {
    this.url = url;
    this.token = token;
    this.silentMs = silentMs;
    this.wish = { ...wish, op: "subscribe", channels };
    this.handlers = handlers;
    this.held = new Map(channels.map((channel) => [channel, new Held(channel, wish.since?.[channel])]));
    this.socket = null; // null while there is no connection
    this.openedAt = 0; // when the newest connection was begun, ms
    this.beganAt = null; // when it was asked for what is told last, ms; null before
    this.heardAt = null; // when a frame came last, ms; null before the first
    this.pingAt = 0; // when the next ping is due, ms
    this.askedAt = null; // when the first ping was sent that no frame has followed yet, ms
    this.isStale = false; // whether the states have been called stale since a frame came
    this.isConnected = false; // whether the gateway has answered what was asked of it since the connection was made
    this.failures = 0; // connections in a row that did not last until a pong
    this.offset = null; // the bus's clock minus ours, ms; null before the first frame that tells
    this.retry = 0;
    this.ended = new AbortController();
    const { signal } = this.ended;
    this.second = setInterval(() => this.look(), Math.min(SECOND_MS, silentMs / 10));
    globalThis.addEventListener?.("online", () => this.probe(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || this.probe(), { signal });
    this.open();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  close() {
    this.ended.abort();
    clearInterval(this.second);
    clearTimeout(this.retry);
    const { socket } = this;
    this.socket = null;
    // To close it before it is open is reported as a failure.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket?.close();
  }

  open() {
    if (this.socket !== null || this.ended.signal.aborted) return;
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url, "ark.v1.json");
    this.socket = socket;
    this.openedAt = Date.now();
    this.askedAt = null;
    socket.onopen = () => socket === this.socket && this.greet();
    socket.onmessage = ({ data }) => socket === this.socket && this.receive(data);
    socket.onclose = ({ code }) => socket === this.socket && this.lose(`closed with ${code}`, code);
  }

  greet() {
    this.openedAt = Date.now();
    this.pingAt = this.openedAt + this.silentMs / 3;
    const positions = [...this.held.values()].filter(({ position }) => position !== null);
    const since = Object.fromEntries(positions.map(({ channel, position }) => [channel, position]));
    this.wish.at = this.moment();
    this.wish.since = this.wish.at === undefined ? since : {};
    if (this.token !== null) this.send({ op: "auth", token: this.token });
    this.send(this.wish);
    // Where nothing has changed meanwhile nothing would tell for seconds that all is well again.
    if (this.heardAt !== null) this.ask(this.openedAt);
    this.beganAt = this.openedAt;
  }

  // From when the past is to be played, ms; undefined: live, as it was once it had come up with the present.
  moment() {
    const { at, speed = 1 } = this.wish;
    if (at === undefined || this.beganAt === null || this.offset === null) return at;
    const played = Math.round(at + Math.max(0, this.heardAt - this.beganAt) * speed);
    return played < this.heardAt + this.offset ? played : undefined;
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  receive(text) {
    this.heardAt = Date.now();
    this.askedAt = null;
    this.isStale = false;
    // Thousands of clients that ask although they hear would be most of what a gateway has to do.
    if (this.failures === 0) this.pingAt = this.heardAt + this.silentMs / 2;
    let told = null;
    try {
      const frame = JSON.parse(text);
      told = this.take(frame);
      if (!this.isConnected && frame.type !== "welcome" && frame.type !== "error") {
        this.isConnected = true;
        this.tell("connected");
      }
    } catch (error) {
      const { code, message } = error;
      this.lose(code === undefined ? `what the gateway sent is of no use: ${message}` : message, code);
    }
    if (told !== null) this.tell(...told);
  }

  take(frame) {
    if (typeof frame.type !== "string") throw new Error("it is no frame");
    // Frames come late, never early: the one that was fastest tells best.
    if (frame.type === "welcome") this.offset = -Infinity;
    if (frame.ts - this.heardAt > this.offset) this.offset = frame.ts - this.heardAt;
    if (frame.type === "pong") this.failures = 0;
    if (frame.type === "error") return this.takeError(frame);
    return this.held.get(frame.channel)?.take(frame) ?? null;
  }

  takeError({ code, message, channel }) {
    if (code !== "busy" && code !== "bad_position") return this.refuse(code, message, channel);
    for (const held of this.held.values()) {
      if (code === "bad_position" && [undefined, held.channel].includes(channel)) held.forget();
    }
    throw Object.assign(new Error(message), { code });
  }

  refuse(code, message, channel) {
    if (channel === undefined || this.held.size === 1) {
      this.close();
      return ["refused", { code, message }];
    }
    this.held.delete(channel);
    this.wish.channels = [...this.held.keys()];
    return ["refused", { code, message, channel }];
  }

  tell(handler, update) {
    this.handlers[handler]?.(update);
  }

  lose(reason, code) {
    const { socket } = this;
    this.socket = null;
    this.isConnected = false;
    socket.close();
    for (const held of this.held.values()) held.pieces = [];
    if (code in FINAL) return this.tell(...this.refuse(code, FINAL[code]));
    // Growing, and random from 0 on, so that a thousand pages do not come back at the same moment.
    let longest = Math.min(MOST_MS, LEAST_MS * 2 ** this.failures);
    if (code === GOING_AWAY) longest = GOING_AWAY_MS;
    else if (code === TOO_SLOW) longest = 0;
    else this.failures += 1;
    const retryInMs = Math.random() * longest;
    this.retry = setTimeout(() => this.open(), retryInMs);
    return this.tell("outage", { reason, retryInMs, code });
  }

  // Once a second: a network that is gone says nothing, an answer that stays away is a lost connection. Silence counts
  // only where it was asked into: a page that was frozen has heard nothing either.
  look() {
    const now = Date.now();
    const { silentMs, askedAt } = this;
    const isSilent = now >= (this.heardAt ?? 0) + silentMs;
    if (this.isOpen) {
      const isLost = isSilent && askedAt !== null && now >= askedAt + silentMs / 2;
      if (isLost) this.lose(`nothing was heard for ${silentMs / 1000} s`);
      else if (now >= this.pingAt) this.ask(now);
    } else if (this.socket !== null && now >= this.openedAt + CONNECT_MS) this.lose("the connection was not answered");
    if (this.isOpen || this.isStale || !isSilent) return;
    this.isStale = true;
    for (const { state } of this.held.values()) {
      if (state !== null) this.tell("state", { ...state, changed: {}, stale: true, skipped: 0 });
    }
  }

  ask(now) {
    this.pingAt = now + this.silentMs / 3;
    this.askedAt ??= now;
    this.send({ op: "ping" });
  }

  // The page is looked at again, or the network is another one: nothing is waited for.
  probe() {
    if (!this.isOpen) return this.open();
    const { socket } = this;
    const now = Date.now();
    this.ask(now);
    const isAnother = () => socket === this.socket && this.heardAt < now;
    return setTimeout(() => isAnother() && this.lose("the network has changed"), PROBE_MS);
  }
}

/** A client of the gateway at `url`, as `http://127.0.0.1:8101`. */
export class Pulse {
  /**
   * @param {string} url
   * @param {{token?: ?string, silentMs?: number}} [options] `silentMs`: after so long without a word a state is stale
   */
  constructor(url, { token = null, silentMs = 15000 } = {}) {
    this.url = `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/ws`;
    this.token = token;
    this.silentMs = silentMs;
    this.subscriptions = new Set();
  }

  /**
   * Follow channels until it is closed, whatever becomes of the gateway.
   * @param {string[]} channels
   * @param {Wish} [wish]
   * @param {Handlers} [handlers]
   * @returns {{close: () => void, offsetMs: ?number}} `offsetMs`: the bus's clock minus ours; null before it was told
   */
  subscribe(channels, wish = {}, handlers = {}) {
    const subscription = new Subscription(this.url, this.token, this.silentMs, channels, wish, handlers);
    this.subscriptions.add(subscription);
    return {
      close: () => this.subscriptions.delete(subscription) && subscription.close(),
      get offsetMs() {
        return subscription.offset;
      },
    };
  }

  /** Close all subscriptions. */
  close() {
    for (const subscription of this.subscriptions) subscription.close();
    this.subscriptions.clear();
  }
}
