// What peers and lights look like.

import { shape } from "/static/federation/mesh_pixels.js";
import { CERTAIN } from "/static/federation/peers.js";

/** Sizes of a light. */
export const SIZES = 8;

const ARCS = 16; // steps of suspicion
const ROUND = 2 * Math.PI;

const disc = (colour, radius, alpha = 1) => (context) => {
  context.globalAlpha = alpha;
  context.fillStyle = colour;
  context.beginPath();
  context.arc(0, 0, radius, 0, ROUND);
  context.fill();
};

const ring = (colour, radius, width, share = 1) => (context) => {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.arc(0, 0, radius, -ROUND / 4, (share - 0.25) * ROUND);
  context.stroke();
};

const cross = (colour, half, width) => (context) => {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  for (const side of [-half, half]) {
    context.moveTo(-half, side);
    context.lineTo(half, -side);
  }
  context.stroke();
};

const all = (...parts) => (context) => parts.forEach((part) => part(context));

/** Those of peers of a radius, px: by status, and the arc of a suspicion. */
export function peerShapes(radius, scale, { green, gold, red, soft, panel }) {
  const hollow = Math.max(radius, 4.5);
  const among = radius < 4 ? 0.65 : 1; // in a crowd the good ones step back
  const square = (context) => {
    context.fillStyle = gold;
    context.fillRect(-radius, -radius, 2 * radius, 2 * radius);
  };
  const gone = all(disc(panel, hollow), ring(red, hollow, 1.5), cross(red, hollow * 0.45, 1.5));
  const paints = { online: disc(green, radius, among), syncing: square, offline: gone, unknown: ring(soft, radius, 1) };
  const statuses = new Map(Object.entries(paints).map(([name, paint]) => [name, shape(hollow + 1, scale, paint)]));
  const arcs = Array.from({ length: ARCS }, (_, step) =>
    shape(hollow + 4.5, scale, ring(gold, hollow + 2.5, 2, (step + 1) / ARCS)));
  return {
    status: (name) => statuses.get(name) ?? statuses.get("unknown"),
    arc: (suspicion) => arcs[Math.min(ARCS, Math.round((suspicion / CERTAIN) * ARCS)) - 1],
  };
}

/** Those of lights: heads and tails by size for each of these colours, and the mark of a sync that failed. */
export function lightShapes(scale, colours, failed) {
  const lights = colours.map((colour) => Array.from({ length: SIZES }, (_, size) => {
    const radius = 1 + size * 0.45;
    return {
      head: shape(radius * 2.2, scale, all(disc(colour, radius * 2.1, 0.22), disc(colour, radius))),
      tail: shape(radius + 1, scale, disc(colour, radius, 0.3)),
    };
  }));
  return { lights, cross: shape(10, scale, cross(failed, 8, 2)) };
}
