// What is said of a peer wherever it is named: its link, its state, how much it is suspected.

import { make, setText } from "/static/core/dom.js";

/** From this suspicion on a peer is offline. */
export const CERTAIN = 8;

/** From this one on it is told that a heartbeat is late. */
export const RISING = 1;

/** The address of a peer's own view. */
export function address(id) {
  return `#/peers/${encodeURIComponent(id)}`;
}

/** A link to a peer's own view; a name that has no room can be read in its title. */
export function peerLink(id, text = id) {
  const link = make("a", "peer", text);
  link.href = address(id);
  link.title = id;
  return link;
}

/** The row of a peer; null if there is none. Peers may be called as what every object has. */
export function rowOf(peers, id) {
  return peers !== null && Object.hasOwn(peers, id) ? peers[id] : null;
}

/** A peer's status, by shape and word. */
export function statusMark() {
  return make("span", "status", make("i"), make("span"));
}

/** Have a status say `status`: online, syncing, offline, or unknown. */
export function setStatus(element, status) {
  element.dataset.status = status;
  setText(element.lastChild, status);
}

/** How a share of what is well, in percent, is graded. */
export function graded(percent) {
  return percent >= 90 ? "good" : percent >= 70 ? "fair" : "poor";
}

/** How a suspicion is graded. */
export function suspected(suspicion) {
  return suspicion >= CERTAIN ? "poor" : suspicion >= RISING ? "fair" : "";
}
