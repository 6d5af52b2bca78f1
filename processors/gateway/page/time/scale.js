// The stretch of time that can be shown: a slider, behind it how the network did, beneath it the time of day.

import { make, setText } from "/static/core/dom.js";
import { getJson } from "/static/core/fetched.js";
import { clock, span } from "/static/core/format.js";
import { Trend } from "/static/elements/trend.js";
import { ticks } from "/static/time/ticks.js";

const SECOND_MS = 1000;
const POINTS = 120;
const TICK_PX = 90;
const TEXT_PX = 64;
const MOST_TICKS = 12;
const FIRST_GUESS_MS = 60 * 60 * SECOND_MS;
const PASSING = 0.02;
const SHORTEST_MS = 60 * SECOND_MS;
const STEPS_S = { ArrowLeft: -10, ArrowDown: -10, ArrowRight: 10, ArrowUp: 10, PageDown: -60, PageUp: 60 };

// A moment and how long before `now` it was, for those who hear it.
const said = (at, now) => (at === now ? "the present" : `${clock(at)}, ${span(now - at)} ago`);

/**
 * The slider's value is the time before the present in seconds: what is live, or plays as fast as it was, stands still.
 * `onMove(at)` is called while it is dragged, `onChoose(at)` once a moment is chosen; null is the present.
 */
export class Scale {
  constructor(onMove, onChoose) {
    this.begins = null; // the oldest moment that the gateway had when it was asked, ms; null before that
    this.series = []; // the network's health from then on, as History has it
    this.present = 0; // the newest one, ms
    this.trend = new Trend(1);
    this.input = make("input");
    this.input.type = "range";
    this.input.max = 0;
    this.input.setAttribute("aria-label", "Moment that is shown");
    this.ticks = Array.from({ length: MOST_TICKS }, () => make("span", "tick"));
    const marks = make("div", "ticks", ...this.ticks);
    marks.setAttribute("aria-hidden", "true");
    this.element = make("div", "scale", make("div", "behind", this.trend.svg), this.input, marks);
    this.input.addEventListener("input", () => onMove(this.chosen));
    this.input.addEventListener("change", () => onChoose(this.chosen));
    this.input.addEventListener("keydown", (event) => this.press(event, onChoose));
  }

  // The moment where the handle is, ms; null at the right end.
  get chosen() {
    const { value } = this.input;
    return Number(value) === 0 ? null : Math.max(this.oldest ?? 0, this.present + value * SECOND_MS);
  }

  // The oldest one that can be shown: until the gateway is asked again the very oldest go.
  get oldest() {
    return this.begins === null ? null : this.begins + PASSING * (this.present - this.begins);
  }

  get spanMs() {
    return Math.max(SHORTEST_MS, this.present - (this.oldest ?? this.present));
  }

  /** Ask the gateway how far back it reaches, and how it was. One that does not answer leaves what is known. */
  async load(present) {
    const from = Math.min(present, this.begins ?? present - FIRST_GUESS_MS); // our clock may be a little behind
    const asked = `channel=federation&from=${Math.round(from)}&to=${Math.round(present)}&points=${POINTS}`;
    try {
      const { begins, samples } = await getJson(`/api/v1/history?${asked}`);
      const isKnown = begins === null || begins >= present || from === this.begins;
      const isFarOff = !isKnown && Math.abs(begins - from) > (present - from) / 10;
      this.begins = begins;
      this.series = samples.map(({ ts, network_health: health }) => [ts, health ?? null]);
      if (isFarOff) await this.load(present);
    } catch {
      // No answer: what was known stays; while nothing was, the slider cannot be moved.
    }
  }

  /** Show it up to `present`, with the handle at `at`; null: leave it where the hand holds it. */
  show(present, at) {
    this.present = present;
    const { input, spanMs } = this;
    input.disabled = this.begins === null;
    input.min = -Math.ceil(spanMs / SECOND_MS);
    if (at !== null) {
      input.value = Math.round((at - present) / SECOND_MS);
      // A value that changed is read out at once: not each second.
      if (document.activeElement !== input) this.say(at);
    }
    this.trend.show([this.series], present, spanMs);
    this.label(present - spanMs, present);
  }

  /** Name the moment of the handle. */
  say(at) {
    this.input.setAttribute("aria-valuetext", said(at ?? this.present, this.present));
  }

  label(begin, end) {
    const width = Math.max(1, this.element.clientWidth);
    const most = Math.max(2, Math.min(MOST_TICKS, Math.floor(width / TICK_PX)));
    const last = end - ((end - begin) * TEXT_PX) / width; // further right its text would be cut off
    const moments = this.begins === null ? [] : ticks(begin, end, most).filter(([at]) => at <= last);
    this.ticks.forEach((tick, index) => {
      const [at, text] = moments[index] ?? [begin, ""];
      setText(tick, text);
      tick.style.left = `${((100 * (at - begin)) / (end - begin)).toFixed(2)}%`;
    });
  }

  press(event, onChoose) {
    const { input } = this;
    const ends = { Home: input.min, End: 0 };
    const step = STEPS_S[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey || (step === undefined && !(event.key in ends))) return;
    event.preventDefault();
    input.value = ends[event.key] ?? Number(input.value) + step;
    onChoose(this.chosen);
  }
}
