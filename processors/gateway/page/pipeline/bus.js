// The bus, and the clients of this gateway.

import { make, setText } from "/static/core/dom.js";
import { UNKNOWN, bytes, number } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { Panel, facts } from "/static/elements/panel.js";

const PATHS = ["/ws", "/sse", "/ws/federation", "/ws/memory"];
const NAMES = ["Server", "Dead letters", ...PATHS.map((path) => `Clients of ${path}`), "Memory at most", "Memory used"];

const size = (value) => bytes(value).join("\u00a0");

class BusPanel extends Part {
  build() {
    const [list, values] = facts(NAMES);
    this.values = values;
    this.bar = make("div", "used");
    this.panel = new Panel("bus", "Bus", list, this.bar);
    this.append(this.panel.element);
  }

  draw() {
    const { body, origin, words } = this.reading;
    this.panel.say(origin, body?.bus === "lost" ? `the gateway does not hear the bus; ${words}` : words);
    if (body === null) return this.values.forEach((each) => setText(each, UNKNOWN));
    const { server, dead, clients, used_bytes: used, most_bytes: most } = body;
    const share = most === 0 ? 0 : Math.min(1, used / most);
    const memory = [most === 0 ? "no limit" : size(most), size(used)];
    const texts = [server, number(dead), ...PATHS.map((path) => number(clients[path])), ...memory];
    texts.forEach((text, index) => setText(this.values[index], text));
    this.bar.style.setProperty("--share", share);
    this.bar.classList.toggle("full", share >= 0.8);
  }
}

customElements.define("pulse-bus", BusPanel);
