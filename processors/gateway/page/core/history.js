// How the numbers of a half were during the last minutes: what the gateway still has, then what comes.

import { getJson } from "/static/core/fetched.js";

export class History {
  /** Of the channel "federation" or "memory": `points` samples, at most, of a stretch of `spanMs`. */
  constructor(channel, spanMs, points) {
    this.channel = channel;
    this.spanMs = spanMs;
    this.stepMs = spanMs / points;
    this.points = points;
    this.samples = []; // summaries, oldest first, one a step
    this.loading = null; // stops the question that is under way
    this.begins = null; // the oldest moment that the gateway has, ms; null before it is known
  }

  /** Forget everything. */
  clear() {
    this.loading?.abort();
    this.samples = [];
    this.begins = null;
  }

  /** Begin anew with what was before `end`, ms. A gateway that does not answer leaves what is known. */
  async load(end) {
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const stretch = `from=${Math.round(end - this.spanMs)}&to=${Math.round(end)}&points=${this.points}`;
    try {
      const answer = await getJson(`/api/v1/history?channel=${this.channel}&${stretch}`, { signal });
      if (!signal.aborted) this.begin(answer, end);
    } catch {
      // No answer, or one that came too late: the line begins with what is known, or comes now.
    }
  }

  begin({ samples, begins }, end) {
    const later = this.samples.filter(({ ts }) => ts > end);
    this.samples = [...samples, ...later];
    this.begins = begins ?? null;
  }

  /** A newer summary. Of those of one step the newest is kept. */
  add(summary) {
    const { samples, stepMs } = this;
    while (samples.length > 0 && samples.at(-1).ts >= summary.ts) samples.pop();
    if (samples.length > 1 && samples.at(-1).ts - samples.at(-2).ts < stepMs) samples.pop();
    samples.push(summary);
    let old = 0;
    // The one in force at the beginning stays.
    while (old + 1 < samples.length && samples[old + 1].ts < summary.ts - this.spanMs) old += 1;
    samples.splice(0, old);
  }

  /** A field over time, oldest first: `[ts, value]`, null where it was unknown. */
  series(field) {
    return this.samples.map((sample) => [sample.ts, sample[field] ?? null]);
  }
}
