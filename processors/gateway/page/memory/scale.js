// What the pictures of the memory view are drawn with.

import { draw, make } from "/static/core/dom.js";

/** A line from one place to another, px. */
export const line = (name, x1, y1, x2, y2) => draw("line", { class: name, x1, y1, x2, y2 });

/** Text at a place, px. */
export const text = (name, x, y, words) => draw("text", { class: name, x, y }, words);

/** A picture in a part, which is drawn again when the picture's size, its `room` in px, changes. */
export function picture(part) {
  const made = make("div", "picture", draw("svg", { "aria-hidden": "true" }));
  part.room = { width: 0, height: 0 };
  new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = made;
    if (width === 0) return; // it is hidden
    part.room = { width, height };
    part.changed();
  }).observe(made);
  return made;
}
