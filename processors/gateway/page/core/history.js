// How the numbers of a half were during the last minutes: what the gateway still has, then what comes.

import { getJson } from "/static/core/fetched.js";

const RENEWED_MS = 30000; // a summary that is that old is renewed, as long as somebody aggregates

const isSimulated = (sample) => sample?.source === "simulated";

export class History {
  /** Of the channel "federation" or "memory": `points` samples, at most, of a stretch of `spanMs`. */
  constructor(channel, spanMs, points) {
    this.channel = channel;
    this.spanMs = spanMs;
    this.stepMs = spanMs / points;
    this.points = points;
    this.samples = []; // summaries, oldest first, one a step
    this.loading = null; // stops the question that is under way
  }

  /** Forget everything. */
  clear() {
    this.loading?.abort();
    this.samples = [];
  }

  /** Begin anew with what was before `end`, ms. A gateway that does not answer leaves what is known. */
  async load(end) {
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const stretch = `from=${Math.max(0, Math.round(end - this.spanMs))}&to=${Math.round(end)}&points=${this.points}`;
    try {
      const answer = await getJson(`/api/v1/history?channel=${this.channel}&${stretch}`, { signal });
      if (!signal.aborted) this.samples = [...answer.samples, ...this.samples.filter(({ ts }) => ts > end)];
    } catch {
      // No answer, or one that came too late: the line begins with what is known, or comes now.
    }
  }

  /** What the channel says now: a summary, or an empty state, of nothing known. Of those of one step the newest stays. */
  add({ value, ts, stale }) {
    if (stale) return; // it is what came last once more
    const { samples, stepMs } = this;
    const summary = value?.ts === undefined ? { ts } : value;
    while (samples.length > 0 && samples.at(-1).ts >= summary.ts) samples.pop();
    if (samples.length > 1 && samples.at(-1).ts - samples.at(-2).ts < stepMs) samples.pop();
    samples.push(summary);
    let old = 0;
    // The one in force at the beginning stays.
    while (old + 1 < samples.length && samples[old + 1].ts < summary.ts - this.spanMs) old += 1;
    samples.splice(0, old);
  }

  /** Until when, ms, its values hold at the moment `now`: the last one only while something is heard. */
  until(now, isHeard) {
    return isHeard ? now : Math.min(now, this.samples.at(-1)?.ts ?? now);
  }

  /**
   * A field over time, oldest first: `[ts, value]`, null where it was unknown: also where nobody said anything, and
   * where it was simulated though it is not any more, or the other way round.
   */
  series(field) {
    const isNow = isSimulated(this.samples.at(-1));
    const holdsMs = RENEWED_MS + 2 * this.stepMs;
    const series = [];
    for (const sample of this.samples) {
      const before = series.at(-1)?.[0] ?? sample.ts;
      if (sample.ts - before > holdsMs) series.push([before + RENEWED_MS, null]);
      series.push([sample.ts, isSimulated(sample) === isNow ? (sample[field] ?? null) : null]);
    }
    return series;
  }
}
