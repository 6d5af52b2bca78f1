// The partitions: who works each, how far it has come, and what waits; and the aggregators that share them.

import { make, setText } from "/static/core/dom.js";
import { number } from "/static/core/format.js";
import { Part } from "/static/core/part.js";
import { Panel, arrange, scrolling } from "/static/elements/panel.js";

const MANY_ENTRIES = 100; // as many are counted
const LATE_MS = 1000;
const FULL_MS = 10000; // the bar is logarithmic: a tenth of this is three quarters of it

const isLate = ({ lag_ms: lag, lag_entries: waiting }) => lag >= LATE_MS || waiting >= MANY_ENTRIES;
const letterOf = (index) => (index < 26 ? String.fromCharCode(65 + index) : `${index + 1}`);
const count = (partitions) => `${number(partitions)} partition${partitions === 1 ? "" : "s"}`;

// One partition; its texts change, and nothing moves.
class Cell {
  constructor(name) {
    this.owner = make("b", "owner");
    this.bar = make("i", "lag");
    this.lag = make("span");
    this.waiting = make("span");
    this.commits = make("small");
    this.flag = make("small", "flag");
    const title = make("span", "", make("span", "hidden", "partition "), name);
    const lines = [[title, this.owner], [this.lag, this.waiting], [this.commits, this.flag]];
    const [head, ...others] = lines.map((line) => make("div", "", ...line));
    this.element = make("li", "", head, this.bar, ...others);
  }

  draw(partition, letter) {
    const { lag_ms: lag, lag_entries: waiting, n, fenced, epoch, position } = partition;
    const late = isLate(partition);
    this.element.dataset.is = letter === null ? "nobody" : late ? "late" : "worked";
    this.element.title = epoch === "" ? "no commit yet" : `epoch ${epoch}, position ${position}`;
    setText(this.owner, letter ?? "nobody");
    this.bar.style.setProperty("--share", Math.min(1, Math.log10(1 + lag) / Math.log10(FULL_MS)));
    setText(this.lag, lag < LATE_MS ? `${lag} ms` : `${number(lag / 1000, 1)} s`);
    setText(this.waiting, `${waiting}${waiting >= MANY_ENTRIES ? "+" : ""} waiting`);
    setText(this.commits, `n ${number(n)}`);
    setText(this.flag, late ? "late" : fenced > 0 ? `${number(fenced)} fenced` : "");
  }
}

// One aggregator; null is nobody.
class Owner {
  constructor(name) {
    this.letter = make("b", "owner");
    this.count = make("span", "number");
    const who = make("span", "who", name ?? "owned by nobody");
    this.element = make("li", name === null ? "nobody" : "", this.letter, who, this.count);
  }

  draw(letter, owned) {
    setText(this.letter, letter ?? "!");
    setText(this.count, count(owned));
  }
}

class Partitions extends Part {
  build() {
    this.cells = new Map(); // by partition
    this.owners = new Map(); // by name; null: nobody
    this.list = make("ul", "owners");
    this.grid = make("ul", "shards");
    this.list.setAttribute("aria-label", "Aggregators");
    this.grid.setAttribute("aria-label", "Partitions");
    this.panel = new Panel("partitions", "Partitions", this.list, scrolling("All partitions", this.grid));
    this.append(this.panel.element);
  }

  draw() {
    const { body, origin, words } = this.reading;
    const { partitions, aggregators } = body ?? { partitions: [], aggregators: [] };
    const owned = Map.groupBy(partitions, ({ owner }) => owner);
    const names = [...new Set([...aggregators, ...owned.keys()])].filter((name) => name !== null).sort();
    const letters = new Map(names.map((name, index) => [name, letterOf(index)]));
    const rows = owned.has(null) ? [null, ...names] : names;
    arrange(this.list, this.owners, rows, (name) => new Owner(name));
    for (const name of rows) this.owners.get(name).draw(letters.get(name), owned.get(name)?.length ?? 0);
    arrange(this.grid, this.cells, partitions.map(({ name }) => name), (name) => new Cell(name));
    for (const each of partitions) this.cells.get(each.name).draw(each, letters.get(each.owner) ?? null);
    this.panel.say(origin, body === null ? words : `${number(partitions.length)}, ${words}`);
  }
}

customElements.define("pulse-partitions", Partitions);
