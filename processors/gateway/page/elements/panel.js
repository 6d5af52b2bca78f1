// What panels have in common.

import { make, place, setText } from "/static/core/dom.js";
import { mark, setMark } from "/static/core/origin.js";

let headings = 0; // that name a region

/** A region named by a heading, which is to be part of its content. `name` is its class. */
export function region(name, heading, ...content) {
  heading.id = `heading-${(headings += 1)}`;
  const made = make("section", `panel ${name}`, ...content);
  made.setAttribute("aria-labelledby", heading.id);
  return made;
}

/** A region under a heading that says where its values come from. */
export class Panel {
  constructor(name, title, ...content) {
    this.heading = make("h3", "", title);
    this.note = make("small");
    this.origin = mark();
    const heading = make("div", "heading", this.heading, this.note, this.origin);
    this.element = region(name, this.heading, heading, ...content);
  }

  say(origin, words) {
    setMark(this.origin, origin);
    setText(this.note, words);
  }
}

/** What is higher than its panel scrolls, by keyboard too. */
export function scrolling(label, content) {
  const made = make("div", "scroll", content);
  made.tabIndex = 0;
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  return made;
}

/** Names with their values: the list, and the elements of the values. */
export function facts(names) {
  const values = names.map(() => make("dd", "number"));
  return [make("dl", "facts", ...names.flatMap((name, index) => [make("dt", "", name), values[index]])), values];
}

/** Have `parent` show what belongs to `keys`, in their order; `rows`, by key, have an `element`, and are kept. */
export function arrange(parent, rows, keys, create) {
  const wanted = new Set(keys);
  for (const key of rows.keys()) if (!wanted.has(key)) rows.delete(key);
  for (const key of keys) if (!rows.has(key)) rows.set(key, create(key));
  place(parent, keys.map((key) => rows.get(key).element));
}
