// The page: two halves, each with a connection of its own.

import { Federation } from "/static/federation.js";
import { Half } from "/static/half.js";
import { Memory } from "/static/memory.js";

const halves = [];

function showTitle() {
  const words = new Set(halves.map((half) => half.word));
  document.title = `${[...words].join(" / ")} \u2013 ARK Pulse`;
}

halves.push(new Half("federation", new Federation(), showTitle), new Half("memory", new Memory(), showTitle));
