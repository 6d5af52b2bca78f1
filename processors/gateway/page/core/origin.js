// What a value says of itself, by colour, shape and word.

import { make, setText } from "/static/core/dom.js";

const RANKS = ["live", "stale", "simulated", "unknown"];

/** The one of several kinds that is furthest from the truth; what does not say is unknown. */
export function worst(kinds) {
  return RANKS[Math.max(...kinds.map((kind) => RANKS.indexOf(kind ?? "unknown")))];
}

/** What a group of a summary is: one of which nothing was ever known is no stale one. */
export function kindOf(group) {
  return group?.as_of === undefined ? "unknown" : group.source;
}

/** A mark; `short`: its word is for those who hear the page. */
export function mark(kind = "unknown", { short = false } = {}) {
  const made = make("span", "origin", make("i", "shape"), make("span", short ? "hidden" : "word"));
  setMark(made, kind);
  return made;
}

/** Have a mark say `kind`: live, stale, simulated or unknown. */
export function setMark(element, kind) {
  if (element.dataset.origin === kind) return;
  element.dataset.origin = kind;
  element.title = kind;
  setText(element.lastChild, kind);
}
