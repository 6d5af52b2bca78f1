// The dialog in which an operator silences a source that is known not to be live for a while.

import { make, setText } from "/static/core/dom.js";
import { send } from "/static/core/fetched.js";
import { moment } from "/static/core/format.js";

const PATH = "/api/v1/silences";

export class SilenceDialog {
  /** `said` is called with what was done. */
  constructor(said) {
    this.said = said;
    this.name = ""; // of the source
    this.title = make("h3");
    this.title.id = "silence-title";
    this.minutes = Object.assign(make("input"), { type: "number", min: 1, max: 10080, required: true });
    this.reason = Object.assign(make("input"), { maxLength: 200, autocomplete: "off" });
    this.problem = make("p", "poor");
    this.problem.setAttribute("role", "alert");
    this.element = make("dialog", "panel", this.form());
    this.element.setAttribute("aria-labelledby", this.title.id);
  }

  form() {
    const about = make("p", "", "That it is not live is no alarm meanwhile. What it fed stays stale.");
    const cancel = make("button", "plain", "Cancel");
    Object.assign(cancel, { type: "button", onclick: () => this.element.close() });
    const buttons = make("div", "buttons", make("button", "plain", "Silence it"), cancel);
    const fields = [make("label", "", "Minutes", this.minutes), make("label", "", "Reason", this.reason)];
    const made = make("form", "", this.title, about, ...fields, this.problem, buttons);
    made.onsubmit = (event) => {
      event.preventDefault();
      this.begin();
    };
    return made;
  }

  open({ name, source }) {
    this.name = name;
    setText(this.title, `Silence ${source.collector} of ${source.node}`);
    setText(this.problem, "");
    this.minutes.value = 60;
    this.reason.value = "";
    this.element.showModal();
    this.minutes.select();
  }

  async begin() {
    const { name } = this;
    try {
      const asked = { source: name, minutes: this.minutes.valueAsNumber, reason: this.reason.value };
      const { until } = await send("POST", PATH, asked);
      this.element.close();
      this.said(`${name} is silenced until ${moment(until)}.`);
    } catch (error) {
      setText(this.problem, `It is not silenced: ${error.message}.`);
    }
  }

  async end({ name }) {
    try {
      await send("DELETE", `${PATH}?source=${encodeURIComponent(name)}`);
      this.said(`${name} is not silenced any more.`);
    } catch (error) {
      this.said(`The silence of ${name} has not ended: ${error.message}.`);
    }
  }
}
