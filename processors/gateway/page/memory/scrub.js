// Looks at single places of a picture, by pointer or arrow keys: a slider without a handle.

export class Scrub {
  /** Of `part`, `locate(px)` is the value at so many pixels from the left edge, and `tell(value)` its words. */
  constructor(element, part) {
    Object.assign(this, { element, part });
    this.value = null; // what is looked at; null: nothing, which is the newest
    this.bounds = [0, 0, 1]; // least, most, and step
    element.tabIndex = 0;
    element.setAttribute("role", "slider");
    element.onkeydown = (event) => this.press(event);
    element.onfocus = () => this.say();
    element.onpointermove = ({ clientX }) => this.look(part.locate(clientX - element.getBoundingClientRect().left));
    element.onpointerdown = element.onpointermove;
    element.onpointerleave = () => this.look(null);
  }

  /** From where to where there is something. It is not said while someone listens: it changes all the time. */
  reach(...bounds) {
    this.bounds = bounds;
    this.hold(this.value);
    if (document.activeElement !== this.element) this.say();
  }

  hold(value) {
    const [least, most] = this.bounds;
    this.value = value === null ? null : Math.min(most, Math.max(least, value));
  }

  look(value) {
    this.hold(value);
    this.say();
    this.part.changed();
  }

  press(event) {
    const [least, most, step] = this.bounds;
    const now = this.value ?? most;
    const values = { ArrowLeft: now - step, ArrowRight: now + step, Home: least, End: most, Escape: null };
    if (!(event.key in values)) return;
    event.preventDefault();
    this.look(values[event.key]);
  }

  say() {
    const [least, most] = this.bounds;
    const now = this.value ?? most;
    const told = { valuemin: least, valuemax: most, valuenow: now, valuetext: this.part.tell(now) };
    for (const [name, value] of Object.entries(told)) this.element.setAttribute(`aria-${name}`, value);
  }
}
