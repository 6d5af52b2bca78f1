// The page: takes whole states from the gateway, shows the newest one a picture frame, and says where it comes from.

import { Connection } from "/static/connection.js";
import { clock, plain, span } from "/static/format.js";
import { PeerTable, showFeed } from "/static/lists.js";
import { drawMesh } from "/static/mesh.js";
import { Tiles } from "/static/tiles.js";

const at = (id) => document.getElementById(id);
const tiles = new Tiles(at("tiles"));
const table = new PeerTable(at("columns"), at("rows"), at("peers-note"));

let state = null; // newest whole state; null before the first
let skew = 0; // the gateway's clock minus ours, ms
let lostSince = null; // when the connection was lost, ms; null while it stands
let asked = false; // whether a picture frame has been asked for

const WORDS = { live: "LIVE", stale: "STALE", simulated: "SIMULATED", disconnected: "DISCONNECTED", connecting: "CONNECTING" };

function standing() {
  if (lostSince !== null) return "disconnected";
  return state === null ? "connecting" : state.source;
}

function detail(kind) {
  if (kind === "disconnected") return `since ${clock(lostSince)}`;
  if (kind === "stale" && state.as_of !== null) return `since ${clock(state.as_of - skew)}`;
  return "";
}

function notice(kind) {
  if (kind === "disconnected") {
    const shown = state === null ? "" : " What is shown is the state of that moment.";
    return `The connection to the gateway was lost at ${clock(lostSince)}. Trying again by itself.${shown}`;
  }
  if (kind === "simulated") return "These values are simulated: no live source has been found yet. Simulated ids begin with sim-.";
  if (kind !== "stale") return "";
  if (state.as_of === null) return "Nothing is known yet: the gateway has not received a first summary.";
  const groups = Object.keys(state.sources).filter((name) => state.sources[name] === "stale");
  return `No news from the sources of ${groups.join(" and ") || "the mesh"}: what is shown are the last known values.`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text; // an unchanged text is not read out again
}

function showStanding() {
  const kind = standing();
  document.body.dataset.state = kind;
  setText(at("badge-word"), WORDS[kind]);
  setText(at("badge-detail"), detail(kind));
  setText(at("notice"), notice(kind));
  at("notice").hidden = at("notice").textContent === "";
  const newest = state === null ? null : state.as_of;
  setText(at("age-value"), newest === null ? "unknown" : `${span(Date.now() + skew - newest)} old`);
  document.title = `${WORDS[kind]} – ARK Pulse`;
}

function showState() {
  asked = false;
  showStanding();
  if (state === null) return;
  tiles.show(state);
  table.show(state);
  showFeed(at("feed"), state);
  showMesh();
}

function showMesh() {
  if (state === null) return;
  drawMesh(at("mesh"), state.peers, (peer) => plain(peer.name));
  const active = state.peers.filter((peer) => peer.status !== "idle").length;
  at("mesh").setAttribute("aria-label", `Picture of the mesh: ${active} of ${state.peers.length} shown peers are online`);
}

function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(showState);
}

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
new Connection(
  `${scheme}//${location.host}/ws/federation`,
  (frame, receivedAt) => {
    state = frame;
    skew = frame.timestamp - receivedAt;
    lostSince = null;
    ask();
  },
  (since) => {
    lostSince ??= since;
    showStanding();
  },
);
setInterval(showStanding, 1000);
new ResizeObserver(showMesh).observe(at("mesh"));
