// Sources and pipeline: what feeds the streams, who works them, where they are kept, and who reads.

import { make } from "/static/core/dom.js";
import { Part } from "/static/core/part.js";
import { Asking } from "/static/pipeline/asking.js";
import "/static/pipeline/bus.js";
import "/static/pipeline/letters.js";
import "/static/pipeline/meter.js";
import "/static/pipeline/partitions.js";
import "/static/pipeline/sources.js";

const EVERY_MS = 2000;

class Pipeline extends Part {
  build() {
    const readers = ["pulse-partitions", "pulse-bus", "pulse-letters"].map((name) => make(name));
    this.reading = new Asking(this, "/api/v1/pipeline", EVERY_MS, () => readers.forEach((each) => each.changed()));
    for (const each of readers) each.reading = this.reading;
    readers.splice(2, 0, make("pulse-meter"));
    const title = make("h2", "hidden", "Sources and pipeline");
    this.append(title, make("div", "pipeline", make("pulse-sources"), ...readers));
  }

  draw() {
    this.reading.look();
  }

  tick() {
    this.reading.look();
  }
}

customElements.define("pulse-pipeline", Pipeline);
