// A list of records, newest first, that can be held still: by its button, and while the focus is in it.

import { make, place, setText } from "/static/core/dom.js";

const gap = (count) => make("li", "gap", `${count} left out`);

export class PausedList {
  /**
   * It keeps the `most` newest records, shows those that it `accepts` as rows that `render(record)` makes, and says
   * `empty(isKnown)` where there are none. `changed()` is called when it is to be drawn again.
   */
  constructor(list, { most, render, empty, changed, accepts = () => true }) {
    Object.assign(this, { list, most, render, empty, changed, accepts });
    this.items = []; // {record, element}, newest first; the element is null until it is shown
    this.held = null; // the items that are shown while it is held; null while it is not
    this.fresh = 0; // records that came since it is held
    this.isKnown = false; // whether anything was heard of the channel
    this.isPaused = false; // by the button
    this.none = make("li", "empty");
    this.note = make("span", "fresh");
    this.button = make("button", "plain", "Pause");
    this.button.onclick = () => this.press(!this.isPaused);
    this.button.setAttribute("aria-pressed", "false");
    for (const name of ["focusin", "focusout"]) list.addEventListener(name, () => this.changed());
  }

  /** The records that are kept, newest first, also those that came while it is held. */
  get records() {
    return this.items.filter(({ record }) => record !== null).map(({ record }) => record);
  }

  /** Records, oldest first. Those that begin anew are shown also while it is held: nothing of before is true. */
  take(records, { snapshot = false, skipped = 0 } = {}) {
    this.isKnown = true;
    const came = records.slice(-this.most).reverse().map((record) => ({ record, element: null }));
    if (skipped > 0) came.push({ record: null, element: gap(skipped) });
    this.items = [...came, ...(snapshot ? [] : this.items)].slice(0, this.most);
    if (this.held !== null && snapshot) this.held = this.items;
    this.fresh = this.held === null || snapshot ? 0 : this.fresh + records.length;
  }

  /** Nothing is known any more. */
  forget() {
    this.take([], { snapshot: true });
    this.isKnown = false;
  }

  /** Hold it, or let it go on. */
  press(isPaused) {
    this.isPaused = isPaused;
    this.button.setAttribute("aria-pressed", isPaused);
    this.changed();
  }

  draw() {
    const isHeld = this.isPaused || this.list.contains(document.activeElement);
    this.held = isHeld ? this.held ?? this.items : null;
    if (!isHeld) this.fresh = 0;
    const count = this.fresh > this.most ? `${this.most}+` : this.fresh;
    setText(this.note, this.fresh > 0 ? `${count} new` : "");
    const shown = (this.held ?? this.items).filter(({ record }) => record === null || this.accepts(record));
    this.place(shown.map((item) => (item.element ??= this.render(item.record))));
  }

  // Rows that stay are not touched: they keep their place, focus and selection.
  place(rows) {
    if (rows.length === 0) {
      setText(this.none, this.empty(this.isKnown));
      rows.push(this.none);
    }
    place(this.list, rows);
  }
}
