// The constellation: how confidence changed from stage to stage, as dots around a zero line, the newest at the right.

import { draw } from "/static/dom.js";
import { DASH, signed } from "/static/format.js";

const MOST = 50;
const LEFT = 44; // room for the scale
const RIGHT = 66; // room for the newest dot's value
const EDGE = 22;
const SCALES = [0.1, 0.2, 0.5, 1];

const kind = (delta) => (delta > 0 ? "up" : delta < 0 ? "down" : "even");

export class Constellation {
  constructor(svg) {
    this.svg = svg;
    this.deltas = []; // newest last; null while unknown
    new ResizeObserver(() => this.render()).observe(svg);
  }

  show(deltas) {
    this.deltas = deltas;
    this.render();
  }

  render() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", this.words());
    const deltas = this.deltas ?? [];
    if (deltas.length === 0) {
      const text = this.deltas === null ? `${DASH} unknown` : "No difference was seen yet.";
      this.svg.replaceChildren(draw("text", { x: width / 2, y: height / 2, class: "none" }, text));
      return;
    }
    const most = Math.max(...deltas.map(Math.abs));
    const bound = SCALES.find((each) => each >= most) ?? Math.ceil(most);
    const step = (width - LEFT - RIGHT) / (MOST - 1);
    const y = (delta) => height / 2 - (delta / bound) * (height / 2 - EDGE);
    const x = (index) => width - RIGHT - (deltas.length - 1 - index) * step;
    const dots = deltas.map((delta, index) => ({ delta, x: x(index), y: y(delta) }));
    const older = dots.slice(0, -1).map((dot) => mark(dot, 3.5));
    this.svg.replaceChildren(...scale(bound, width, y), thread(dots), ...older, ...newest(dots.at(-1)));
  }

  words() {
    if (this.deltas === null || this.deltas.length === 0) return "Differences of confidence: none";
    const up = this.deltas.filter((delta) => delta > 0).length;
    const down = this.deltas.filter((delta) => delta < 0).length;
    const last = signed(this.deltas.at(-1), 2);
    return `The last ${this.deltas.length} differences of confidence: ${up} up, ${down} down, the newest ${last}`;
  }
}

function scale(bound, width, y) {
  const digits = bound < 1 ? 1 : 0;
  return [bound, 0, -bound].flatMap((value) => [
    draw("line", { x1: LEFT - 6, x2: width - RIGHT + 14, y1: y(value), y2: y(value), class: value ? "bound" : "zero" }),
    draw("text", { x: LEFT - 12, y: y(value) + 4, class: "scale" }, signed(value, value ? digits : 0)),
  ]);
}

function thread(dots) {
  const points = dots.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`);
  return draw("polyline", { points: points.join(" "), class: "thread" });
}

function mark({ delta, x, y }, radius) {
  return draw("circle", { cx: x, cy: y, r: radius, class: kind(delta) }, draw("title", {}, signed(delta, 3)));
}

function newest(dot) {
  return [
    draw("circle", { cx: dot.x, cy: dot.y, r: 10, class: `ring ${kind(dot.delta)}` }),
    mark(dot, 5.5),
    draw("text", { x: dot.x + 16, y: dot.y + 4, class: `newest ${kind(dot.delta)}` }, signed(dot.delta, 2)),
  ];
}
