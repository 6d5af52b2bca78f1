// What panels have in common.

import { make, setText } from "/static/core/dom.js";
import { mark, setMark } from "/static/core/origin.js";

/** A region under a heading that says where its values come from. `name` is its class. */
export class Panel {
  constructor(name, title, ...content) {
    this.heading = make("h3", "", title);
    this.heading.id = `panel-${name}`;
    this.note = make("small");
    this.origin = mark();
    const heading = make("div", "heading", this.heading, this.note, this.origin);
    this.element = make("section", `panel ${name}`, heading, ...content);
    this.element.setAttribute("aria-labelledby", this.heading.id);
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
  for (const [key, { element }] of rows) if (!wanted.has(key) && rows.delete(key)) element.remove();
  keys.forEach((key, index) => {
    if (!rows.has(key)) rows.set(key, create(key));
    const { element } = rows.get(key);
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
}
