// What all live pieces of the page have in common.

import { forget, redraw } from "/static/core/frames.js";

const SECOND_MS = 1000;
const parts = new Set(); // those in the document

/**
 * A part of the page: it follows channels of the store, and is drawn at most once a picture frame, while it can be
 * seen. What is drawn is what the store holds then: nothing waits in between.
 */
export class Part extends HTMLElement {
  static channels = []; // of the protocol that matter to it

  // The page's store; set for all parts before the first is made.
  get store() {
    return Part.store;
  }

  connectedCallback() {
    if (!this.isBuilt) {
      this.isBuilt = true;
      this.build();
    }
    parts.add(this);
    this.store.join(this);
    this.changed();
  }

  disconnectedCallback() {
    parts.delete(this);
    this.store.leave(this);
    forget(this);
  }

  /** Make the content, once. */
  build() {}

  /** Each update of its channels as it comes, while it is hidden too. */
  take(_update) {}

  /** Show what the store holds. */
  draw() {}

  /** Once a second while it can be seen. */
  tick() {}

  /** Have it drawn. */
  changed() {
    redraw(this);
  }
}

/** Have all parts drawn: what concerns everything has changed. */
export function changeAll() {
  for (const part of parts) part.changed();
}

function tick() {
  if (document.hidden) return;
  for (const part of parts) if (part.closest("[hidden]") === null) part.tick();
}

setInterval(tick, SECOND_MS);
document.addEventListener("visibilitychange", tick); // nobody is to read how old something was long ago
