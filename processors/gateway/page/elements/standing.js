// How things stand, for the whole page: where each half comes from, how old its newest data is, and the connection.

import { make, setText } from "/static/core/dom.js";
import { clock, span } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { route } from "/static/core/router.js";
import { GROUPS } from "/static/core/store.js";

const HALVES = { federation: "Federation", memory: "Memory" };
const SIMULATED = { federation: "its ids begin with sim-", memory: "its messages begin with [simulated]" };

class Standing extends Part {
  static channels = ["federation", "memory"];

  build() {
    this.badges = Object.entries(HALVES).map(([half, title]) => {
      const [origin, age] = [mark(), make("span", "age")];
      this.append(make("p", "badge", make("span", "whose", title), origin, age));
      return { half, origin, age };
    });
    this.sentence = document.getElementById("sentence");
    this.store.addEventListener("standing", () => this.entitle()); // of a page that is hidden, too
  }

  draw() {
    const { kind } = this.store.standing;
    document.documentElement.dataset.standing = kind;
    for (const { half, origin } of this.badges) setMark(origin, this.store.origin(half));
    const text = this.words();
    setText(this.sentence, text);
    this.sentence.title = text; // a narrow window shows its beginning
    this.entitle();
    this.tick();
  }

  entitle() {
    const { id } = route();
    document.title = [...(id === null ? [] : [id]), this.word(), "ARK Pulse"].join(" \u2013 ");
  }

  tick() {
    for (const { half, age } of this.badges) {
      const newest = this.store.value(half)?.as_of;
      setText(age, newest === undefined ? "age unknown" : `${span(this.store.now() - newest)} old`);
    }
  }

  // For the window's title.
  word() {
    const { kind } = this.store.standing;
    if (kind !== "connected") return kind === "connecting" ? "connecting" : "disconnected";
    if (this.store.shown.past) return "past";
    return [...new Set(this.badges.map(({ half }) => this.store.origin(half)))].join(" / ");
  }

  words() {
    const { kind, since, reason } = this.store.standing;
    if (kind === "connecting") return "Connecting to the gateway.";
    if (kind === "refused") return `The gateway refuses what this page asks for: ${reason}.`;
    if (kind === "lost") {
      return `Disconnected since ${clock(since)}: ${reason}. Trying again by itself; what is shown is as it was then.`;
    }
    const { problem, shown: { past } } = this.store;
    const halves = Object.keys(HALVES).map((half) => this.wordsOf(half)).filter((words) => words !== "");
    if (halves.length === 0) halves.push(past ? "Everything was live." : "Everything is live.");
    return [problem, past ? "This is the past." : "", ...halves].filter((words) => words !== "").join(" ");
  }

  // Of a half that is not live.
  wordsOf(half) {
    const title = HALVES[half];
    switch (this.store.origin(half)) {
      case "unknown":
        if (this.store.unreached(half)) return `${title}: the streams do not reach so far back.`;
        return `${title}: nothing is known yet.`;
      case "simulated":
        return `${title} is simulated, no live source has been found: ${SIMULATED[half]}.`;
      case "stale": {
        const silent = GROUPS[half].filter((group) => this.store.origin(half, group) !== "live");
        return `${title} is stale: the sources of ${silent.join(" and ")} are silent, the last known values are shown.`;
      }
      default:
        return "";
    }
  }
}

customElements.define("pulse-standing", Standing);
