// One strip of the chart: lines over time on a scale that begins at zero.

import { draw } from "/static/core/dom.js";
import { number } from "/static/core/format.js";
import { bounds, stepped } from "/static/elements/trend.js";
import { line, text } from "/static/memory/scale.js";

/** Room for the scale at the left, and at the right, px. */
export const LEFT = 40;
export const RIGHT = 8;

const TOP = 20; // room for the unit, px
const NICE = [1, 2, 4, 5, 10];

// Where the scale ends: a round number that is not smaller.
function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * NICE.find((factor) => factor * power >= most);
}

/** What a series was at a moment; null if that is unknown. */
export function valueAt(series, moment) {
  return series.findLast(([ts]) => ts <= moment)?.[1] ?? null;
}

/**
 * @param {{unit: string, top?: number}} strip `top`: where its scale ends, if that is fixed
 * @param {Array<{name: string, series: Array}>} lines
 * @param {{y: number, width: number, height: number}} box px
 * @param {{x: (ms: number) => number, end: number, moments: number[], looked: ?number}} time
 */
export function drawStrip({ unit, top: fixed }, lines, { y: begin, width, height }, { x, end, moments, looked }) {
  const top = fixed ?? ceiling(bounds(lines.map(({ series }) => series))?.[1] ?? 0);
  const y = (value) => (begin + height - (value / top) * (height - TOP)).toFixed(1);
  const upright = (name, ms) => line(name, x(ms), y(top), x(ms), y(0));
  const steps = [0, top / 2, top].flatMap((value) => [
    line(value === 0 ? "zero" : "grid", LEFT, y(value), width - RIGHT, y(value)),
    text("tick", LEFT - 7, Number(y(value)) + 4, number(value, value < 10 && !Number.isInteger(value) ? 1 : 0)),
  ]);
  const grid = moments.map((ms) => upright("grid", ms));
  const trails = lines.map(({ name, series }) =>
    draw("path", { class: `trail ${name}`, d: stepped(series, end, x, y) }));
  const cursor = looked === null ? [] : [upright("cursor", looked)];
  return [text("", LEFT, begin + TOP - 7, unit), ...grid, ...steps, ...trails, ...cursor];
}
