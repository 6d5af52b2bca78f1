// Peers by an amount, the largest first, with bars.

import { make, setText } from "/static/core/dom.js";
import { address } from "/static/federation/peers.js";

// One place of the list; who has it changes.
class Place {
  constructor() {
    this.link = make("a", "peer");
    this.size = make("span", "number");
    this.bar = make("i", "bar");
    this.element = make("li", "", this.link, this.size, this.bar);
  }

  show(id, text, share) {
    setText(this.link, id);
    this.link.title = id;
    this.link.setAttribute("href", address(id));
    setText(this.size, text);
    this.bar.style.setProperty("--share", share);
  }
}

export class Ranking {
  /** With `most` places; `form(amount)` is how an amount is written. */
  constructor(most, form) {
    this.form = form;
    this.places = Array.from({ length: most }, () => new Place());
    this.element = make("ol", "ranking", ...this.places.map(({ element }) => element));
  }

  /** Show `[id, amount]`, the largest first. */
  show(ranks) {
    // Who is under the focus stays there.
    if (this.element.contains(document.activeElement)) return;
    this.places.forEach((place, index) => {
      place.element.hidden = index >= ranks.length;
      if (index >= ranks.length) return;
      const [id, amount] = ranks[index];
      place.show(id, this.form(amount), ranks[0][1] > 0 ? amount / ranks[0][1] : 0);
    });
  }
}
