// What is seen of a scroller whose rows all have one height, so that only those rows need to be in the document.

const BEYOND = 4; // rows beyond the edges of what is seen

export class Viewport {
  /** Of `scroller`, with rows of `rowRem`; `changed` is called when other rows are seen. */
  constructor(scroller, rowRem, changed) {
    this.scroller = scroller;
    this.top = 0; // from where it is seen, px
    this.height = 0; // how much of it, px
    this.rowPx = 1;
    this.changed = changed;
    scroller.addEventListener("scroll", () => this.scrolled(scroller.scrollTop), { passive: true });
    new ResizeObserver(() => {
      this.height = scroller.clientHeight;
      this.rowPx = rowRem * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
      changed();
    }).observe(scroller);
  }

  scrolled(top) {
    if (top === this.top) return;
    this.top = top;
    this.changed();
  }

  /** The first of `count` rows that are to be there, and the one after the last. */
  range(count) {
    const first = Math.max(0, Math.floor(this.top / this.rowPx) - BEYOND);
    return [first, Math.min(count, Math.ceil((this.top + this.height) / this.rowPx) + BEYOND)];
  }

  /** How many rows are seen, of which `covered` px are covered by heads. */
  rows(covered = 0) {
    return Math.max(1, Math.floor((this.height - covered) / this.rowPx));
  }

  /** Bring a row into view. */
  reveal(index, covered = 0) {
    const top = Math.min(index * this.rowPx, Math.max(this.top, (index + 1) * this.rowPx - (this.height - covered)));
    this.scroller.scrollTop = top;
    this.scrolled(top);
  }
}
