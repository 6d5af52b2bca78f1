// The peers that sent most in the last five minutes.

import { make, setText } from "/static/core/dom.js";
import { UNKNOWN, bytes } from "/static/core/format.js";
import { mark, setMark } from "/static/core/origin.js";
import { Part } from "/static/core/part.js";
import { region } from "/static/elements/panel.js";
import { Ranking } from "/static/federation/ranking.js";

const MOST = 10;

class Talkers extends Part {
  static channels = ["federation"];

  build() {
    this.origin = mark();
    this.ranking = new Ranking(MOST, (size) => bytes(size).join(" "));
    this.none = make("p", "empty");
    const title = make("h3", "", "Sent most", make("small", "", "in five minutes"), this.origin);
    this.append(region("talkers", title, title, this.ranking.element, this.none));
  }

  draw() {
    const talkers = this.store.value("federation")?.top_talkers;
    setMark(this.origin, talkers === undefined ? "unknown" : this.store.origin("federation", "sync"));
    this.ranking.show((talkers ?? []).map(({ id, bytes: size }) => [id, size]));
    this.none.hidden = talkers?.length > 0;
    setText(this.none, talkers === undefined ? UNKNOWN : "No peer has sent anything.");
  }
}

customElements.define("pulse-talkers", Talkers);
