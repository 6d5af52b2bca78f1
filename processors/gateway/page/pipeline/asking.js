// What nothing pushes: asked for again and again, while it can be seen and there is a connection.

import { getJson } from "/static/core/fetched.js";
import { clock } from "/static/core/format.js";

const SLACK_MS = 500; // a tick may come a little early

export class Asking {
  /** Of `path` every `everyMs`, for a part; `told` is called after each question. */
  constructor(part, path, everyMs, told) {
    Object.assign(this, { part, path, everyMs, told });
    this.body = null; // newest answer; null before the first
    this.readAt = 0; // when that came, ms of our clock
    this.problem = ""; // why the newest question was not answered
    this.dueAt = 0; // when the next one is due, ms of our clock
    this.asked = null; // stops the one that is under way; null while there is none
    addEventListener("hashchange", () => this.look());
    document.addEventListener("visibilitychange", () => this.look());
  }

  /** Ask if it is time, or stop asking. To be called once a second, and when the connection has changed. */
  look() {
    const { part } = this;
    const isWanted = !document.hidden && part.checkVisibility() && part.store.standing.kind === "connected";
    if (!isWanted) this.asked?.abort();
    else if (this.asked === null && Date.now() >= this.dueAt) this.ask();
  }

  /** Do not wait until it is time. */
  hurry() {
    this.dueAt = 0;
    this.look();
  }

  async ask() {
    const { signal } = (this.asked = new AbortController());
    this.dueAt = Date.now() + this.everyMs - SLACK_MS;
    try {
      this.body = await getJson(this.path, { signal });
      this.readAt = Date.now();
      this.problem = "";
    } catch (error) {
      if (signal.aborted) this.dueAt = 0; // nobody looked any more
      else this.problem = error.message;
    }
    this.asked = null;
    this.told();
  }

  /** It is live as long as answers come. */
  get origin() {
    if (this.body === null) return "unknown";
    return this.part.store.asHeard("live", this.problem !== "" || Date.now() - this.readAt > 3 * this.everyMs);
  }

  /** Of which moment it is, and why it is no newer. */
  get words() {
    const { past } = this.part.store.shown;
    const read = this.body === null ? "not read yet" : `read at ${clock(this.body.timestamp ?? this.readAt)}`;
    return [read, past ? "of now only" : "", this.problem].filter((part) => part !== "").join("; ");
  }
}
