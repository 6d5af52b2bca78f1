// Dark as ARK is, light, or as the system has it: the button that changes it, and what remembers it.

import { make, setText } from "/static/core/dom.js";
import { forgetPalette } from "/static/core/palette.js";
import { Part, changeAll } from "/static/core/part.js";

const THEMES = ["dark", "light", "system"];

class ThemeButton extends Part {
  build() {
    this.word = make("span");
    this.button = make("button", "plain", make("i", "sun"), this.word);
    this.button.onclick = () => this.choose(THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]);
    this.append(this.button);
    this.show();
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.show());
  }

  get theme() {
    return document.documentElement.dataset.theme;
  }

  choose(theme) {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // Storage is forbidden: the choice holds until the page is loaded again.
    }
    this.show();
  }

  show() {
    setText(this.word, this.theme);
    this.button.setAttribute("aria-label", `Theme: ${this.theme}. Change it`);
    forgetPalette();
    changeAll();
  }
}

customElements.define("pulse-theme", ThemeButton);
