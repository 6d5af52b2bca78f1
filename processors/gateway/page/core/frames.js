// The one loop of picture frames: parts are drawn when they changed and can be seen, animations as long as they go on.

const KEPT = 300;
const LONGEST_MS = 5000;

const waiting = new Set(); // parts that changed since they were drawn
const steps = new Set(); // animations that go on
const lengths = new Float64Array(KEPT); // of the newest frames that followed another one at once, ms; a ring
let measured = 0; // how many frames were, ever
let last = null; // when the newest frame began, if the next follows at once; null after a rest
let isAsked = false;

function ask() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(run);
}

function run(now) {
  isAsked = false;
  if (last !== null) lengths[measured++ % KEPT] = now - last;
  for (const part of waiting) {
    if (part.closest("[hidden]") !== null) continue; // it is drawn when it is shown
    waiting.delete(part);
    part.draw();
  }
  for (const step of steps) {
    if (step(now) === false) steps.delete(step);
  }
  last = steps.size > 0 ? now : null;
  if (last !== null) ask();
}

/** Have a part drawn in the next picture frame in which it can be seen. */
export function redraw(part) {
  waiting.add(part);
  ask();
}

/** Forget a part. */
export function forget(part) {
  waiting.delete(part);
}

/** Calls `step(nowMs)` in every picture frame until it returns false. */
export function animate(step) {
  steps.add(step);
  ask();
}

/** How fast frames followed each other while something moved: `{perSecond, worstMs}` of up to five seconds, or null. */
export function measure() {
  let [sum, worstMs, count] = [0, 0, 0];
  while (count < Math.min(measured, KEPT) && sum < LONGEST_MS) {
    const length = lengths[(measured - 1 - count) % KEPT];
    sum += length;
    worstMs = Math.max(worstMs, length);
    count += 1;
  }
  return count === 0 ? null : { perSecond: (1000 * count) / sum, worstMs };
}

// Pages that are not looked at get no frames.
document.addEventListener("visibilitychange", () => {
  last = null;
});
