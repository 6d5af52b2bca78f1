// What lies below peers and lights: bands, lines, names, and the core with the network's health.

import { DASH, number } from "/static/core/format.js";
import { nameOf } from "/static/federation/columns.js";
import { BANDS } from "/static/federation/mesh_layout.js";
import { bowX, bowY, toneOf } from "/static/federation/mesh_traces.js";
import { graded } from "/static/federation/peers.js";

/** Most peers with a line to the core: up to so many are worth to be drawn in every picture frame. */
export const FEW = 120;

const CORE = 32; // radius of the hexagon, px
const LONGEST = 18; // characters of a name
const FONT = "system-ui, sans-serif";
const ROUND = 2 * Math.PI;

/**
 * Draw it. Of the scene: `frame` of the layout, `nodes`, `radius` of a peer in px, `colours`, `origin` of the peers,
 * `health` in percent or null, `syncs` with their `ends`, `freshSince` when those that are strong lines began or null,
 * the `chosen` node or null, and whether it `hasNames`.
 */
export function paint(context, scene) {
  const { frame, nodes, chosen, colours } = scene;
  context.fillStyle = colours.panel;
  context.fillRect(0, 0, frame.width, frame.height);
  context.textAlign = "center";
  context.textBaseline = "middle";
  if (scene.origin === "simulated" || scene.origin === "stale") paintOrigin(context, scene);
  paintBands(context, scene);
  if (nodes.length <= FEW) paintEdges(context, scene);
  paintSyncs(context, scene);
  paintBandNames(context, scene);
  paintCore(context, scene);
  if (chosen !== null) {
    context.strokeStyle = colours.text;
    context.beginPath();
    context.arc(chosen.x, chosen.y, scene.radius + 6, 0, ROUND);
    context.stroke();
  }
  if (scene.hasNames) paintNames(context, scene);
}

// Across all of it: nobody is to take what is invented, or old, for the present.
function paintOrigin(context, { frame, colours, origin }) {
  const { width, height } = frame;
  context.save();
  context.translate(frame.x, frame.y);
  context.rotate(-Math.atan2(height, width));
  context.font = `700 ${Math.round(Math.hypot(width, height) / 9)}px ${FONT}`;
  context.globalAlpha = 0.1;
  context.fillStyle = origin === "simulated" ? colours.cyan : colours.gold;
  context.fillText(origin.toUpperCase(), 0, 0);
  context.restore();
}

function paintBands(context, { frame, colours }) {
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  for (const { outer } of frame.bands) {
    context.beginPath();
    context.ellipse(frame.x, frame.y, frame.reachX * outer, frame.reachY * outer, 0, 0, ROUND);
    context.stroke();
  }
}

function paintBandNames(context, { frame, colours }) {
  context.font = `11px ${FONT}`;
  for (const { index, outer } of frame.bands) {
    const y = frame.y - frame.reachY * outer;
    const half = context.measureText(BANDS[index]).width / 2 + 5;
    context.fillStyle = colours.panel;
    context.fillRect(frame.x - half, y - 7, 2 * half, 14);
    context.fillStyle = colours.soft;
    context.fillText(BANDS[index], frame.x, y);
  }
}

function paintEdges(context, { frame, nodes }) {
  context.beginPath();
  for (const { row, x, y } of nodes) {
    if (row.status === "offline") continue;
    context.moveTo(frame.x, frame.y);
    context.lineTo(x, y);
  }
  context.stroke();
}

// All lines of a kind are one path: that is cheaper than hundreds.
function paintSyncs(context, { colours, chosen, syncs, ends, freshSince }) {
  const tones = [colours.cyan, colours.gold, colours.red];
  const [faint, strong] = [tones.map(() => new Path2D()), tones.map(() => new Path2D())];
  for (const record of syncs) {
    const [from, to] = ends(record);
    const isStrong = from === chosen || to === chosen || (freshSince !== null && record.ts > freshSince);
    const path = (isStrong ? strong : faint)[toneOf(record)];
    path.moveTo(from.x, from.y);
    path.quadraticCurveTo(bowX(from, to), bowY(from, to), to.x, to.y);
  }
  for (const [paths, alpha, width] of [[faint, 0.14, 1], [strong, 0.9, 1.6]]) {
    context.globalAlpha = alpha;
    context.lineWidth = width;
    paths.forEach((path, tone) => {
      context.strokeStyle = tones[tone];
      context.stroke(path);
    });
  }
  context.globalAlpha = 1;
}

// Of a host's name that is too long its own part is said.
function shortened(name) {
  if (name.length <= LONGEST) return name;
  const [host] = name.split(".", 1);
  return host.length <= LONGEST ? host : `${host.slice(0, LONGEST - 1)}\u2026`;
}

// A name that would cover another one, or a peer, is left out: the table has them all.
function paintNames(context, { frame, colours, nodes, radius }) {
  const away = radius + 7;
  const taken = nodes.map(({ x, y }) => [x - radius, y - radius, x + radius, y + radius]);
  context.font = `12px ${FONT}`;
  context.textAlign = "left";
  context.fillStyle = colours.text;
  for (const { row, x, y } of nodes) {
    const text = shortened(nameOf(row));
    const { width } = context.measureText(text);
    const left = x < frame.x ? x - away - width : x + away;
    const [right, top, bottom] = [left + width, y - 8, y + 8];
    if (left < 0 || right > frame.width) continue;
    if (taken.some((box) => left < box[2] && box[0] < right && top < box[3] && box[1] < bottom)) continue;
    taken.push([left, top, right, bottom]);
    context.fillText(text, left, y);
  }
}

function paintCore(context, { frame: { x, y }, colours, health }) {
  context.beginPath();
  for (let corner = 0; corner < 6; corner += 1) {
    const angle = (corner / 6 - 0.25) * ROUND;
    context.lineTo(x + CORE * Math.cos(angle), y + CORE * Math.sin(angle));
  }
  context.closePath();
  context.fillStyle = colours.bg;
  context.fill();
  context.strokeStyle = colours.cyan;
  context.lineWidth = 2;
  context.stroke();
  context.font = `600 15px ${FONT}`;
  context.fillStyle = colourOf(health, colours);
  context.fillText(health === null ? DASH : `${number(health, health > 99 && health < 100 ? 1 : 0)}%`, x, y - 3);
  context.font = `10px ${FONT}`;
  context.fillStyle = colours.soft;
  context.fillText("health", x, y + 12);
}

function colourOf(health, { soft, green, gold, red }) {
  return health === null ? soft : { good: green, fair: gold, poor: red }[graded(health)];
}
