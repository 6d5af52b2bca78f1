// What the shapes of the mesh mean, and what there is of them in words.

import { draw, make } from "/static/core/dom.js";
import { number } from "/static/core/format.js";
import { setStatus, statusMark } from "/static/federation/peers.js";

const PATHS = [
  ["suspicious, the fuller the nearer to offline", "gold", "M6 1a5 5 0 1 1-5 5"],
  ["sync", "cyan", "M1 10q4-7 9-7m0 0v.1"],
  ["failed", "red", "m2 2 8 8m0-8-8 8"],
];

/** A list of them. */
export function legend() {
  const statuses = ["online", "syncing", "offline"].map((name) => {
    const status = statusMark();
    setStatus(status, name);
    return make("li", "", status);
  });
  const others = PATHS.map(([text, colour, d]) => {
    const picture = draw("svg", { viewBox: "0 0 12 12", width: 12, height: 12, class: colour, "aria-hidden": "true" });
    picture.append(draw("path", { d }));
    return make("li", "", picture, text);
  });
  return make("ul", "mesh-legend", ...statuses, ...others, make("li", "", "nearer to the core: lower latency"));
}

/** How many peers of a crowd are how, of all there are; empty if there are none. */
export function inWords({ total, counts, drawn }) {
  if (total === 0) return "";
  const kinds = Object.entries(counts).filter(([, count]) => count > 0);
  const words = kinds.map(([kind, count]) => `${number(count)} ${kind}`).join(", ");
  const left = drawn.length < total ? ` ${number(drawn.length)} of ${number(total)} are drawn.` : "";
  return `${number(total)} ${total === 1 ? "peer" : "peers"}: ${words}.${left}`;
}
