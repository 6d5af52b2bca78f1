// The tiles: one value each, an em dash and the word where it is unknown, and for some a line of the recent past.

import { make } from "/static/dom.js";
import { DASH } from "/static/format.js";
import { Trend } from "/static/trend.js";

export class Tiles {
  // rows: [title, field, form(value), more(known, state) or nothing, whether it has a line]
  constructor(list, rows) {
    this.cells = rows.map(([title, field, form, more, hasLine]) => {
      const trend = hasLine ? new Trend(form) : null;
      const value = make("dd");
      const rest = make("dd", "more");
      const lines = trend === null ? [] : [make("dd", "line", trend.svg)];
      list.append(make("div", "tile", make("dt", "", title), value, ...lines, rest));
      return { field, form, more, trend, value, rest };
    });
  }

  show(state) {
    const unknown = new Set(state.unknown);
    const known = (field, form) => (unknown.has(field) ? "" : form(state[field]));
    for (const { field, form, more, value, rest } of this.cells) {
      const shown = unknown.has(field) ? { text: DASH, unit: "unknown", grade: "unknown" } : form(state[field]);
      value.className = shown.grade ?? "";
      value.replaceChildren(shown.text, make("small", "", shown.unit));
      if (more) rest.textContent = unknown.has(field) ? "" : more(known, state);
    }
  }

  // Once a second: what the lines show. state is null while nothing is heard.
  sample(now, state) {
    for (const { field, trend, rest } of this.cells) {
      if (trend === null) continue;
      trend.add(now, state === null || state.unknown.includes(field) ? null : state[field]);
      rest.textContent = trend.range();
    }
  }
}
