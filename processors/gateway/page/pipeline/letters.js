// Dead letters: the newest inputs that could not be used, who rejected them and why, and a second chance for them.

import { make, setText } from "/static/core/dom.js";
import { send } from "/static/core/fetched.js";
import { moment, number } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { Asking } from "/static/pipeline/asking.js";
import { Panel, arrange, scrolling } from "/static/elements/panel.js";

const PATH = "/api/v1/dead";
const EVERY_MS = 10000;

// One letter: it never changes.
class Row {
  constructor({ id, ts, rejected_by: who, reason, excerpt, whole }, replay) {
    const button = make("button", "plain operators", "Replay");
    button.setAttribute("aria-label", `Replay the letter ${id}`);
    button.onclick = () => replay(id, button);
    // Of one that is cut off some may have counted: it would count twice.
    const last = whole ? button : make("small", "", "not whole");
    const parts = [make("span", "time", moment(ts)), make("b", "", who), make("span", "reason", reason), last];
    const about = make("div", "about", ...parts);
    this.element = make("li", "", about, ...(excerpt === "" ? [] : [make("pre", "", excerpt)]));
  }
}

class Letters extends Part {
  build() {
    this.rows = new Map(); // by id
    this.dead = null; // how many the bus had when that was read last; null before
    this.asking = new Asking(this, PATH, EVERY_MS, () => this.changed());
    this.list = make("ul");
    this.said = make("p", "said");
    this.said.setAttribute("role", "status");
    this.panel = new Panel("letters", "Dead letters", scrolling("The letters", this.list), this.said);
    this.append(this.panel.element);
  }

  draw() {
    const { body, origin, words } = this.asking;
    const letters = new Map((body?.letters ?? []).map((letter) => [letter.id, letter]));
    const told = letters.size === 0 ? "none" : `the newest ${number(letters.size)}`;
    const create = (id) => new Row(letters.get(id), (...which) => this.replay(...which));
    arrange(this.list, this.rows, [...letters.keys()], create);
    this.panel.say(origin, body === null ? words : `${told}, ${words}`);
    this.tick();
  }

  tick() {
    const dead = this.reading.body?.dead ?? null;
    const isNews = this.dead !== null && this.dead !== dead;
    this.dead = dead;
    if (isNews) this.asking.hurry();
    else this.asking.look();
  }

  async replay(id, button) {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true"; // a disabled one would lose the focus
    try {
      await send("POST", `${PATH}/${id}/replay`);
      setText(this.said, `${id} was replayed.`);
    } catch (error) {
      const isAnswer = error.status !== undefined;
      const refused = `${id} was not replayed: ${error.message}.`;
      setText(this.said, isAnswer ? refused : `Nobody answered whether ${id} was replayed.`);
    }
    button.ariaBusy = "false";
    this.asking.hurry();
  }
}

customElements.define("pulse-letters", Letters);
