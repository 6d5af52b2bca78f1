// How the memory engines worked during the last minutes, and what each value was at the moment that is looked at.

import { draw, make, setText } from "/static/core/dom.js";
import { UNKNOWN, clock, number, rate } from "/static/core/format.js";
import { History } from "/static/core/history.js";
import { Part } from "/static/core/part.js";
import { stepped } from "/static/elements/trend.js";
import { picture, text } from "/static/memory/scale.js";
import { Scrub } from "/static/memory/scrub.js";
import { LEFT, RIGHT, drawStrip, valueAt } from "/static/memory/strip.js";
import { Panel } from "/static/elements/panel.js";

const MINUTE_MS = 60 * 1000;
const POINTS = 300;
const AXIS = 20; // room for the clock times, px
const LINES = [
  { name: "ingestion", title: "Ingestion", field: "ingestion_rate", unit: "sessions/s", form: rate },
  { name: "consolidation", title: "Consolidation", field: "consolidation_rate", unit: "stages/s", form: rate },
  { name: "dedup", title: "De-duplication", field: "dedup_rate", unit: "% of uses", form: (value) => number(value, 1) },
  { name: "quarantine", title: "Quarantine", field: "quarantine_count", unit: "runs", form: (value) => number(value) },
];
// With the places of their lines, and their shares of the height.
const STRIPS = [
  { unit: "per second", lines: [0, 1], share: 0.5 },
  { unit: "% of uses", lines: [2], share: 0.25, top: 100 },
  { unit: "runs", lines: [3], share: 0.25 },
];

const ORIGINS = ["stale", "simulated"]; // drawn along the axis where values were not live

const told = ({ form, unit }, value) => (value === null ? UNKNOWN : `${form(value)} ${unit}`);

class Rates extends Part {
  static channels = ["memory"];

  build() {
    this.hour = new History("memory", 60 * MINUTE_MS, POINTS);
    this.isHour = false;
    this.end = 0; // the moment at the right end, ms of the bus's clock
    this.readings = LINES.map(() => make("dd"));
    this.picture = picture(this);
    this.picture.setAttribute("aria-label", "Moment of the chart");
    this.scrub = new Scrub(this.picture, this);
    const readings = LINES.map(({ name, title }, index) => {
      const sample = draw("svg", { class: "sample" }, draw("path", { class: `trail ${name}`, d: "M0 6H26" }));
      return make("div", "", make("dt", "", sample, title), this.readings[index]);
    });
    this.panel = new Panel("rates", "Over time", make("dl", "readings", ...readings), this.picture);
    this.panel.element.firstChild.append(this.buildLengths());
    this.append(this.panel.element);
    this.store.addEventListener("standing", () => this.loadHour());
    this.store.addEventListener("shown", () => {
      this.hour.clear(); // what came later is not to be seen
      this.loadHour();
    });
  }

  buildLengths() {
    this.lengths = ["10 minutes", "1 hour"].map((length) => make("button", "plain", length));
    this.lengths.forEach((button, index) => (button.onclick = () => this.choose(index === 1)));
    return make("div", "lengths", ...this.lengths);
  }

  get history() {
    return this.isHour ? this.hour : this.store.history("memory");
  }

  choose(isHour) {
    this.isHour = isHour;
    this.scrub.look(null);
    this.loadHour();
  }

  // The hour is asked for when it is looked at.
  async loadHour() {
    if (!this.isHour || this.store.standing.kind !== "connected") return;
    const state = this.store.states.get("memory");
    if (state !== undefined) this.hour.add(state);
    await this.hour.load(this.store.now());
    this.changed();
  }

  take(update) {
    if (this.isHour) this.hour.add(update);
  }

  tick() {
    this.changed();
  }

  locate(px) {
    return this.end - this.history.spanMs * (1 - (px - LEFT) / (this.room.width - LEFT - RIGHT));
  }

  // Of now by what came last: the clocks are not the same to the millisecond.
  valueAt(field, moment) {
    if (moment === this.end) return this.store.value("memory")?.[field] ?? null;
    return valueAt(this.history.series(field), moment);
  }

  originAt(moment) {
    return this.store.asHeard(this.valueAt("source", moment) ?? "unknown");
  }

  tell(moment) {
    const values = LINES.map((each) => `${each.title} ${told(each, this.valueAt(each.field, moment))}`);
    return `${clock(moment)}, ${this.originAt(moment)}: ${values.join(", ")}`;
  }

  draw() {
    const { spanMs } = this.history;
    this.end = this.store.now();
    this.scrub.reach(this.end - spanMs, this.end, spanMs / 60);
    const looked = this.scrub.value;
    const isNow = looked === null;
    this.lengths.forEach((button, index) => button.setAttribute("aria-pressed", this.isHour === (index === 1)));
    LINES.forEach((each, index) => {
      setText(this.readings[index], told(each, this.valueAt(each.field, looked ?? this.end)));
    });
    const origin = isNow ? this.store.origin("memory") : this.originAt(looked);
    const isPresent = isNow && !this.store.shown.past;
    this.panel.say(origin, `all nodes, ${isPresent ? "now" : `at ${clock(looked ?? this.end)}`}`);
    this.drawPicture(looked);
  }

  drawPicture(looked) {
    const { history, end, room: { width, height } } = this;
    if (width === 0) return;
    const begin = end - history.spanMs;
    const x = (ms) => (LEFT + (width - LEFT - RIGHT) * Math.max(0, (ms - begin) / history.spanMs)).toFixed(1);
    const step = (this.isHour ? 10 : 2) * MINUTE_MS;
    const first = Math.ceil(begin / step) * step;
    const moments = [0, 1, 2, 3, 4, 5].map((index) => first + index * step).filter((ms) => ms <= end);
    // What was heard last holds until now only while something is heard.
    const heard = history.until(end, this.store.standing.kind === "connected");
    const time = { x, end: heard, moments, looked };
    let y = 0;
    const strips = STRIPS.flatMap((strip) => {
      const box = { y, width, height: (height - AXIS) * strip.share };
      y += box.height;
      const lines = strip.lines.map((index) => LINES[index]);
      return drawStrip(strip, lines.map(({ name, field }) => ({ name, series: history.series(field) })), box, time);
    });
    const times = moments.map((ms) => text("time", x(ms), y + 15, clock(ms).slice(0, 5)));
    const origins = history.series("source");
    const bands = ORIGINS.map((kind) => {
      const only = origins.map(([ts, origin]) => [ts, origin === kind ? kind : null]);
      return draw("path", { class: `trail ${kind}`, d: stepped(only, heard, x, () => y) });
    });
    this.picture.firstChild.replaceChildren(...strips, ...times, ...bands);
  }
}

customElements.define("pulse-rates", Rates);
