// How far the indexed files are trusted: their shares as a bar, and as numbers.

import { make, setText } from "/static/core/dom.js";
import { DASH, UNKNOWN, number } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { chosenOrigin, chosenValues } from "/static/memory/choice.js";
import { Panel } from "/static/elements/panel.js";

// In the order of the bar; "other" is every tier that ARK does not know.
const TIERS = ["core", "trusted", "sandbox", "external", "other"];

class Trust extends Part {
  static channels = ["memory"];

  build() {
    this.rows = TIERS.map((tier) =>
      ({ tier, piece: make("i", `tier ${tier}`), files: make("b"), share: make("span", "percent") }));
    const bar = make("div", "bar", ...this.rows.map(({ piece }) => piece));
    const items = this.rows.map(({ tier, files, share }) =>
      make("li", "", make("i", `swatch tier ${tier}`), make("span", "", tier), files, share));
    this.panel = new Panel("trust", "Trust", bar, make("ul", "shares", ...items));
    this.append(this.panel.element);
  }

  draw() {
    const tiers = chosenValues(this.store)?.trust_distribution;
    const all = TIERS.reduce((sum, tier) => sum + (tiers?.[tier] ?? 0), 0);
    if (tiers) this.panel.say(chosenOrigin(this.store, "code"), `${number(all)} indexed files`);
    else this.panel.say("unknown", UNKNOWN);
    for (const { tier, piece, files, share } of this.rows) {
      const count = tiers?.[tier] ?? 0;
      piece.hidden = count === 0;
      piece.style.flexGrow = count;
      setText(files, tiers ? number(count) : DASH);
      setText(share, tiers ? `${all === 0 ? DASH : number((100 * count) / all, 1)}\u00a0%` : "unknown");
    }
  }
}

customElements.define("pulse-trust", Trust);
