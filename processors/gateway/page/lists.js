// The sortable table of peers, and the feed of syncs.

import { make } from "/static/dom.js";
import { DASH, bytes, clock, number, plain } from "/static/format.js";

const TIERS = { core: 0, trusted: 1, verified: 2 };
const STATUSES = { syncing: 0, active: 1, idle: 2 };
const lacks = (peer, field) => (peer.unknown ?? []).includes(field);

const COLUMNS = [
  { title: "Peer", key: (peer) => plain(peer.name).toLowerCase() },
  { title: "Tier", key: (peer) => TIERS[peer.trust_tier] ?? 3, wide: true },
  { title: "Status", key: (peer) => STATUSES[peer.status] ?? 3 },
  { title: "Latency", key: (peer) => (lacks(peer, "latency") ? Infinity : peer.latency), number: true },
  { title: "Shared", key: (peer) => peer.data_shared, number: true, wide: true },
];

function statusCell(status) {
  const kind = { active: "online", syncing: "syncing" }[status] ?? "offline";
  return make("td", "status", make("i", `dot ${kind}`), status);
}

function nameCell(peer) {
  const [name, id] = [plain(peer.name), plain(peer.id)];
  const made = make("td", "name", name);
  made.title = id;
  if (id !== name) made.append(make("small", "", id));
  return made;
}

function row(peer) {
  const latency = lacks(peer, "latency") ? `${DASH} unknown` : `${number(peer.latency, 1)} ms`;
  return make(
    "tr", "",
    nameCell(peer),
    make("td", lacks(peer, "trust_tier") ? "wide unknown" : "wide", plain(peer.trust_tier)),
    statusCell(peer.status),
    make("td", lacks(peer, "latency") ? "number unknown" : "number", latency),
    make("td", "number wide", bytes(peer.data_shared).join(" ")),
  );
}

export class PeerTable {
  constructor(head, body, note) {
    this.body = body;
    this.note = note;
    this.sort = { column: COLUMNS[0], down: false };
    this.peers = [];
    // Rows by id with the text they were made from: a row that stays the same is not made again.
    this.made = new Map();
    for (const column of COLUMNS) {
      const button = make("button", "", column.title);
      button.type = "button";
      button.onclick = () => this.sortBy(column);
      column.cell = make("th", `${column.number ? "number " : ""}${column.wide ? "wide" : ""}`, button);
      column.cell.scope = "col";
      head.append(column.cell);
    }
    this.markSort();
  }

  sortBy(column) {
    this.sort = { column, down: this.sort.column === column && !this.sort.down };
    this.markSort();
    this.render();
  }

  markSort() {
    for (const { cell: head } of COLUMNS) head.removeAttribute("aria-sort");
    this.sort.column.cell.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
  }

  show(state) {
    this.peers = state.peers;
    const unknown = state.unknown.includes("peers");
    const cut = state.peers_total > state.peers.length ? `, the ${state.peers.length} most recently seen` : "";
    this.note.textContent = unknown ? "unknown" : `${number(state.peers_total)} known${cut}`;
    this.render(unknown);
  }

  render(unknown = false) {
    const { column: { key }, down } = this.sort;
    const keyed = this.peers.map((peer) => [key(peer), peer]);
    keyed.sort(([a, p], [b, q]) => (a === b ? (p.id < q.id ? -1 : 1) : (a < b ? -1 : 1) * (down ? -1 : 1)));
    const made = new Map();
    const rows = keyed.map(([, peer]) => {
      const text = JSON.stringify(peer);
      const known = this.made.get(peer.id);
      const entry = known !== undefined && known.text === text ? known : { text, row: row(peer) };
      made.set(peer.id, entry);
      return entry.row;
    });
    this.made = made;
    if (rows.length === 0) {
      const none = make("td", "empty", unknown ? `${DASH} unknown` : "No peer is known yet.");
      none.colSpan = COLUMNS.length;
      rows.push(make("tr", "", none));
    }
    // Rows that stand right stay where they are, with their focus and selection.
    rows.forEach((each, index) => {
      if (this.body.children[index] !== each) this.body.insertBefore(each, this.body.children[index] ?? null);
    });
    while (this.body.children.length > rows.length) this.body.lastElementChild.remove();
  }
}

function syncItem(sync) {
  return make(
    "li", "",
    make("span", "time", clock(sync.timestamp)),
    make("span", "who", plain(sync.peer)),
    make("span", "size", bytes(sync.bytes).join(" ")),
    make("span", "what", make("span", "", plain(sync.action) || "sync"), make("span", sync.status, sync.status)),
  );
}

export function showFeed(list, state) {
  const items = [...state.sync_traffic].reverse().map(syncItem);
  const none = state.unknown.includes("sync_traffic") ? `${DASH} unknown` : "No sync was seen yet.";
  list.replaceChildren(...(items.length > 0 ? items : [make("li", "empty", none)]));
}
