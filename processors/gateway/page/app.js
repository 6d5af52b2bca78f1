// The page: two halves, each with a connection of its own, and the sources of both.

import { Federation } from "/static/federation.js";
import { Half } from "/static/half.js";
import { checkAccess } from "/static/login.js";
import { Memory } from "/static/memory.js";
import { Sources } from "/static/sources.js";

const halves = [];
const sources = new Sources();
let origins = ""; // where the values of both halves come from, as far as they say

function showStanding() {
  const words = new Set(halves.map((half) => half.word));
  document.title = `${[...words].join(" / ")} \u2013 ARK Pulse`;
  const now = JSON.stringify(halves.map((half) => [half.word, half.state?.sources]));
  if (now !== origins) sources.changed();
  origins = now;
}

checkAccess();
halves.push(new Half("federation", new Federation(), showStanding), new Half("memory", new Memory(), showStanding));
