// The constellation: how confidence changed from stage to stage, a star for each difference, the newest at the right.

import { draw, make, setText } from "/static/core/dom.js";
import { UNKNOWN, signed } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { chosenNode, chosenOrigin, chosenValues } from "/static/memory/choice.js";
import { line, picture, text } from "/static/memory/scale.js";
import { Scrub } from "/static/memory/scrub.js";
import { Panel } from "/static/elements/panel.js";

const MOST = 50;
const [LEFT, RIGHT, EDGE] = [44, 62, 24]; // room for the scale, for the newest one's value, and above and below, px
const SCALES = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1];
const SLIDE = { duration: 600, easing: "ease-out", composite: "add" };
const LEAST = 3; // radius of the smallest star, px
const MORE = 6; // how much larger the largest is, px
// Three rays, or a ring, of radius 1.
const SHAPES = {
  up: "M0-1.15.3-.2 1 .6 0 .35-1 .6-.3-.2Z",
  down: "M0 1.15.3.2 1-.6 0-.35-1-.6-.3.2Z",
  even: "M.6 0A.6.6 0 1 0-.6 0 .6.6 0 1 0 .6 0Z",
};
const SIGNS = { up: "\u25b2", down: "\u25bc", even: "\u25cb" };

const kindOf = (delta) => (delta > 0 ? "up" : delta < 0 ? "down" : "even");

// How many of `after` are new: it begins with what `before` ended with.
function countNew(before, after) {
  const follows = (fresh) => {
    const first = before.length - (after.length - fresh);
    return first >= 0 && before.slice(first).every((delta, index) => delta === after[index]);
  };
  let fresh = 0;
  while (!follows(fresh)) fresh += 1;
  return fresh;
}

function glows() {
  return Object.keys(SHAPES).map((kind) => {
    const stops = [[0, 0.38], [1, 0]].map(([offset, opacity]) => draw("stop", { offset, "stop-opacity": opacity }));
    return draw("radialGradient", { id: `glow-${kind}`, class: kind }, ...stops);
  });
}

function star({ delta, x, y }, amount, age, isLooked) {
  const [kind, radius] = [kindOf(delta), LEAST + MORE * Math.sqrt(amount)];
  const glow = draw("circle", { r: 3 * radius, fill: `url(#glow-${kind})` });
  const rays = draw("path", { d: SHAPES[kind], transform: `scale(${radius})` });
  const ring = isLooked ? [draw("circle", { class: "ring", r: LEAST + MORE + 2 })] : [];
  const look = { class: `star ${kind}`, opacity: 1 - age / 2, transform: `translate(${x} ${y})` };
  return draw("g", look, glow, rays, ...ring);
}

class Constellation extends Part {
  static channels = ["memory"];

  build() {
    this.deltas = []; // newest last
    this.node = null; // whose they are
    this.picture = picture(this);
    this.scale = draw("g", {});
    this.sky = draw("g", {});
    this.picture.firstChild.append(draw("defs", {}, ...glows()), this.scale, this.sky);
    this.scrub = new Scrub(this.picture, this);
    this.told = make("p", "told");
    this.panel = new Panel("confidence", "Confidence", this.picture, this.told);
    this.append(this.panel.element);
  }

  get step() {
    return (this.room.width - LEFT - RIGHT) / (MOST - 1);
  }

  // How many are newer than the one at so many pixels, as a number below zero.
  locate(px) {
    return Math.round((px - (this.room.width - RIGHT)) / this.step);
  }

  tell(place) {
    const delta = this.deltas.at(place - 1);
    if (delta === undefined) return "none";
    return `${SIGNS[kindOf(delta)]} ${signed(delta, 3)}, ${place === 0 ? "the newest" : `${-place} before the newest`}`;
  }

  draw() {
    const known = chosenValues(this.store)?.confidence_deltas;
    const before = chosenNode() === this.node ? this.deltas : [];
    this.deltas = known ?? [];
    this.node = chosenNode();
    const origin = known ? chosenOrigin(this.store, "reasoning") : "unknown";
    this.panel.say(origin, `${this.deltas.length} differences between stages`);
    this.scrub.reach(Math.min(0, 1 - this.deltas.length), 0, 1);
    this.drawSky();
    if (before.length > 0) this.slide(countNew(before, this.deltas));
    const words = known ? this.summary() : UNKNOWN;
    setText(this.told, this.scrub.value === null ? words : this.tell(this.scrub.value));
    this.picture.setAttribute("aria-label", `Confidence: ${words}`);
  }

  summary() {
    const counts = Object.entries(SIGNS).map(([kind, sign]) => {
      const count = this.deltas.filter((delta) => kindOf(delta) === kind).length;
      return `${sign} ${count} ${kind}`;
    });
    if (this.deltas.length === 0) return "no difference yet";
    return `${counts.join(", ")}, the newest ${signed(this.deltas.at(-1), 2)}`;
  }

  drawSky() {
    const { deltas, step, room: { width, height } } = this;
    if (width === 0) return;
    const most = Math.max(0, ...deltas.map(Math.abs));
    const bound = SCALES.find((each) => each >= most) ?? Math.ceil(most);
    const y = (delta) => height / 2 - (delta / bound) * (height / 2 - EDGE);
    const newer = (index) => deltas.length - 1 - index;
    const places = deltas.map((delta, index) => ({ delta, x: width - RIGHT - newer(index) * step, y: y(delta) }));
    const points = places.map((place) => `${place.x},${place.y}`).join(" ");
    const stars = places.map((place, index) =>
      star(place, Math.abs(place.delta) / bound, newer(index) / MOST, newer(index) === -(this.scrub.value ?? 0)));
    const names = places.slice(-1).map((newest) =>
      text(kindOf(newest.delta), newest.x + 15, newest.y + 5, signed(newest.delta, 2)));
    this.sky.replaceChildren(draw("polyline", { class: "thread", points }), ...stars, ...names);
    this.scale.replaceChildren(...drawScale(bound, width, y));
  }

  // All move on to the left; several slides add up.
  slide(fresh) {
    if (fresh === 0 || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.sky.animate({ transform: [`translateX(${fresh * this.step}px)`, "translateX(0)"] }, SLIDE);
  }
}

function drawScale(bound, width, y) {
  const end = width - RIGHT;
  return [
    ...[bound, bound / 2, -bound / 2, -bound].map((value) => line("grid", LEFT, y(value), end, y(value))),
    line("zero", LEFT, y(0), end, y(0)),
    ...[bound, 0, -bound].map((value) =>
      text("tick", LEFT - 8, y(value) + 4, signed(value, value !== 0 && bound < 1 ? 2 : 0))),
    text("", LEFT, y(-bound) + 16, "older"),
    text("tick", end, y(-bound) + 16, "newest"),
  ];
}

customElements.define("pulse-constellation", Constellation);
