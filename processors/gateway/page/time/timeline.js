// The moment that is shown: which it is, how to choose another one, and the way back to the present.

import { make, setText } from "/static/core/dom.js";
import { moment, span } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { replaceParameters, route } from "/static/core/router.js";
import { Scale } from "/static/time/scale.js";

const REST_MS = 150;
const RELOAD_MS = 60000;
const SPEEDS = [1, 10, 60];
const MOST_SPEED = 100;

function button(words, className, onClick) {
  const made = make("button", `plain ${className}`, words);
  made.onclick = onClick;
  return made;
}

// The moment that the address asks for, `{at, speed}`; null if it asks for none.
function asked() {
  const { parameters } = route();
  const [at, speed] = [Number(parameters.get("at") ?? NaN), Number(parameters.get("speed") ?? 1)];
  return Number.isFinite(at) && at > 0 && speed >= 0 && speed <= MOST_SPEED ? { at, speed } : null;
}

class Timeline extends Part {
  build() {
    this.speed = 1; // how fast the past is played while it is not paused
    this.held = null; // the moment to which the handle was moved and that is not shown yet, ms; null: there is none
    this.written = null; // the moment that the address has by us; null: none
    this.rest = 0; // goes there when the handle rests
    this.loadedAt = -Infinity; // when the scale was loaded, ms of our clock
    this.word = make("b", "word");
    this.word.setAttribute("role", "status");
    this.moment = make("span", "moment");
    this.ago = make("span", "ago");
    this.play = button("", "play", () => this.toggle());
    this.speeds = SPEEDS.map((speed) => [speed, button(`${speed}\u00d7`, "speed", () => this.choose(speed))]);
    this.live = button("Back to live", "back", () => this.goLive());
    this.scale = new Scale((at) => this.drag(at), (at) => this.settle(at));
    const speeds = make("span", "speeds", this.play, ...this.speeds.map(([, each]) => each));
    speeds.setAttribute("role", "group");
    speeds.setAttribute("aria-label", "How the past is played");
    const shown = make("p", "shown", make("i", "mark"), this.word, this.moment, this.ago);
    this.append(shown, speeds, this.scale.element, this.live);
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", "Time");
    this.addEventListener("keydown", ({ key }) => key === "Escape" && this.goLive());
    this.store.addEventListener("shown", () => this.follow());
    addEventListener("hashchange", () => this.obey());
    this.obey();
  }

  // The address is another one: of another moment, or of another view that is to show the same moment.
  obey() {
    const wish = asked();
    if (wish === null) return this.write();
    if (wish.at === this.written) return undefined;
    if (wish.speed > 0) this.speed = wish.speed;
    return this.store.travel(wish.at, wish.speed);
  }

  // Another moment is shown.
  follow() {
    const { past, speed } = this.store.shown;
    document.documentElement.toggleAttribute("data-past", past);
    if (past && speed > 0) this.speed = speed;
    this.held = null;
    this.write();
    this.changed();
  }

  // Have the address name the moment that is shown.
  write() {
    const { past, speed } = this.store.shown;
    const at = past ? Math.round(this.store.now()) : null;
    if (at === null && this.written === null && asked() === null) return;
    this.written = at;
    replaceParameters({ at, speed: past ? speed : null });
  }

  drag(at) {
    this.held = at ?? this.store.present();
    this.changed();
    this.scale.say(at);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.settle(at), REST_MS);
  }

  // A moment is chosen; null is the present.
  settle(at) {
    clearTimeout(this.rest);
    this.held = at;
    this.scale.say(at);
    if (at === null) return this.goLive();
    return this.store.travel(at, this.isPaused ? 0 : this.speed);
  }

  // The moment that is shown, or is to be, ms.
  get chosen() {
    const { standing, offsetMs } = this.store;
    return this.held ?? (this.isLost ? standing.since + offsetMs : this.store.now());
  }

  // Whether what is shown was the present, and is not heard of any more.
  get isLost() {
    return !this.store.shown.past && this.store.standing.since !== null;
  }

  get isPaused() {
    return this.store.shown.past && this.store.shown.speed === 0;
  }

  toggle() {
    this.store.travel(this.chosen, this.isPaused ? this.speed : 0);
  }

  choose(speed) {
    this.speed = speed;
    this.store.travel(this.chosen, speed);
  }

  goLive() {
    this.held = null;
    if (document.activeElement === this.live) this.scale.input.focus(); // the button is about to vanish
    this.store.goLive();
    this.changed();
  }

  draw() {
    const { past } = this.store.shown;
    const isOut = past && this.store.unreached("federation") && this.store.unreached("memory");
    setText(this.word, isOut ? "Out of reach" : past ? "Past" : this.isLost ? "Last heard" : "Present");
    setText(this.play, this.isPaused ? "Play" : "Pause");
    this.play.setAttribute("aria-label", this.isPaused ? "Play on" : "Pause the whole page");
    for (const [speed, each] of this.speeds) {
      each.disabled = !past;
      each.setAttribute("aria-pressed", String(past && speed === this.store.shown.speed));
    }
    this.live.classList.toggle("vanished", !past);
    this.tick();
  }

  tick() {
    const { store } = this;
    const [present, now] = [store.present(), this.chosen];
    setText(this.moment, moment(now));
    setText(this.ago, present - now < 1000 ? "as it comes" : `${span(present - now)} ago`);
    this.scale.show(present, this.held === null ? now : null);
    if (store.shown.past && store.shown.speed > 0) this.write();
    if (store.standing.kind === "connected" && Date.now() - this.loadedAt > RELOAD_MS) this.load();
  }

  async load() {
    if (document.hidden) return;
    this.loadedAt = Date.now();
    await this.scale.load(this.store.present());
    this.changed();
  }
}

customElements.define("pulse-timeline", Timeline);
