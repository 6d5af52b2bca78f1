// The picture of the mesh: the core in the middle, peers on rings by tier, coloured and shaped by status.

const RINGS = { core: 0, trusted: 1, verified: 2 };
const COLOURS = { active: "#00ff88", syncing: "#ffce47", idle: "#8a8aa0" };

// Ids keep their place on a ring while others come and go: the angle comes from the id, not from the order.
function angleOf(id) {
  let hash = 2166136261;
  for (let index = 0; index < id.length; index += 1) {
    hash = Math.imul(hash ^ id.charCodeAt(index), 16777619);
  }
  return ((hash >>> 0) / 2 ** 32) * 2 * Math.PI;
}

// On a ring with few peers the ids' own angles would collide by chance: order by angle, then spread evenly.
function place(peers) {
  const rings = [[], [], [], []];
  for (const peer of peers) rings[RINGS[peer.trust_tier] ?? 3].push({ peer, angle: angleOf(peer.id) });
  return rings.map((ring) => {
    ring.sort((a, b) => a.angle - b.angle || (a.peer.id < b.peer.id ? -1 : 1));
    return ring.map((each, index) => ({ peer: each.peer, angle: (index / ring.length) * 2 * Math.PI - Math.PI / 2 }));
  });
}

function mark(context, status, x, y, radius) {
  context.fillStyle = context.strokeStyle = COLOURS[status] ?? COLOURS.idle;
  context.beginPath();
  if (status === "syncing") {
    context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
    context.fill();
    return;
  }
  context.arc(x, y, radius, 0, 2 * Math.PI);
  if (status === "active") {
    context.fill();
  } else {
    context.lineWidth = 1.5;
    context.stroke();
  }
}

function hexagon(context, x, y, radius) {
  context.beginPath();
  for (let corner = 0; corner < 6; corner += 1) {
    const angle = (corner / 6) * 2 * Math.PI - Math.PI / 2;
    context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  context.closePath();
}

export function drawMesh(canvas, peers, nameOf) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const [x, y] = [width / 2, height / 2];
  // The rings are ellipses: a wide panel is filled, and names have room beside their peers.
  const named = peers.length <= 24 && width > 420;
  const most = [Math.min(width / 2 - (named ? 118 : 12), height * 0.95), height / 2 - (named ? 26 : 12)];
  // A canvas that is not laid out yet has no size at all.
  const [reachX, reachY] = most.map((reach) => Math.max(0, reach));
  const radius = peers.length > 250 ? 2.5 : peers.length > 80 ? 3.5 : peers.length > 24 ? 4.5 : 6;
  const rings = place(peers);
  // Empty rings take no room.
  const used = rings.filter((ring) => ring.length > 0);
  const names = [];
  used.forEach((ring, index) => {
    const share = (index + 1.4) / (used.length + 0.4);
    const [ringX, ringY] = [reachX * share, reachY * share];
    context.strokeStyle = "#20202e";
    context.lineWidth = 1;
    context.beginPath();
    context.ellipse(x, y, ringX, ringY, 0, 0, 2 * Math.PI);
    context.stroke();
    for (const each of ring) {
      const { peer } = each;
      // Each ring begins elsewhere, or its peers would hide behind those of the next.
      const angle = each.angle + index * 0.9;
      // A crowded ring becomes a band.
      const band = ring.length > 60 ? 1 - 0.16 * ((angleOf(peer.id) * 97) % 1) : 1;
      const [peerX, peerY] = [x + ringX * band * Math.cos(angle), y + ringY * band * Math.sin(angle)];
      if (peer.status !== "idle" && peers.length <= 120) {
        context.strokeStyle = peer.status === "syncing" ? "rgba(255,206,71,.5)" : "rgba(0,224,255,.16)";
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(peerX, peerY);
        context.stroke();
      }
      mark(context, peer.status, peerX, peerY, radius);
      names.push({ text: nameOf(peer), x: peerX, y: peerY, aside: peerX - x });
    }
  });
  if (named) writeNames(context, names, radius);
  hexagon(context, x, y, 15);
  context.fillStyle = "#0a0a0f";
  context.fill();
  context.strokeStyle = "#00e0ff";
  context.lineWidth = 2;
  context.stroke();
}

// A name that would cover another name or a peer is left out: the table has them all.
function writeNames(context, names, radius) {
  const taken = names.map(({ x, y }) => [x - radius, y - radius, x + radius, y + radius]);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = "#a3a3b8";
  context.textAlign = "left";
  for (const { text, x, y, aside } of names) {
    const short = text.length > 18 ? `${text.slice(0, 17)}\u2026` : text;
    const width = context.measureText(short).width;
    const left = Math.abs(aside) < 12 ? x - width / 2 : aside < 0 ? x - radius - 6 - width : x + radius + 6;
    const base = Math.abs(aside) < 12 ? y - radius - 6 : y + 4;
    const box = [left, base - 10, left + width, base + 3];
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    context.fillText(short, left, base);
  }
}
