// Moments on a scale: round ones, as the clock on the wall shows them.

import { clock } from "/static/core/format.js";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const STEPS = [
  10 * SECOND_MS, 30 * SECOND_MS, ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE_MS),
  ...[1, 2, 3, 6, 12, 24, 48, 96, 168].map((hours) => hours * HOUR_MS),
];

/** At most `most` round moments from `begin` to `end`, ms, oldest first: `[[ms, "10:35"], ...]`. */
export function ticks(begin, end, most) {
  const step = STEPS.find((each) => (end - begin) / each < most) ?? (end - begin) / most;
  const zoneMs = new Date(end).getTimezoneOffset() * MINUTE_MS;
  const found = [];
  for (let at = Math.ceil((begin - zoneMs) / step) * step + zoneMs; at <= end; at += step) {
    found.push([at, clock(at).slice(0, step < MINUTE_MS ? 8 : 5)]);
  }
  return found;
}
