// Which peers are shown, in which order. What changes is put in its place; the others are not sorted again.

import { accepting } from "/static/federation/columns.js";

// What is unknown comes last, whichever way; what is equal is in the order of the ids.
function comparing(isDown) {
  const sign = isDown ? -1 : 1;
  return (one, other) => {
    const [a, b] = [one.key, other.key];
    if (a !== b && a !== null && b !== null) return a < b ? -sign : sign;
    if (a !== b) return a === null ? 1 : -1;
    return one.id < other.id ? -1 : 1;
  };
}

// Two sorted lists as one.
function mergeSorted(some, others, compare) {
  const merged = [];
  let index = 0;
  for (const each of some) {
    while (index < others.length && compare(others[index], each) < 0) merged.push(others[index++]);
    merged.push(each);
  }
  return merged.concat(others.slice(index));
}

export class PeerOrder {
  constructor() {
    this.entries = []; // {id, key} of those that are shown, in order
    this.total = 0; // how many peers there are
    this.dirty = new Set(); // ids of those that changed since they were put in their place
  }

  /** Begin anew: with these peers, those that `filter` accepts, by `column`. */
  arrange(peers, { filter, column, isDown }) {
    this.accepts = accepting(filter);
    this.key = (row) => column.key(row) ?? null;
    this.compare = comparing(isDown);
    this.dirty.clear();
    const ids = Object.keys(peers);
    this.total = ids.length;
    this.entries = this.sorted(peers, ids);
  }

  /** Put those that changed in their places. */
  settle(peers) {
    const stayed = this.entries.filter(({ id }) => !this.dirty.has(id));
    const moved = [...this.dirty].filter((id) => Object.hasOwn(peers, id));
    this.entries = mergeSorted(this.sorted(peers, moved), stayed, this.compare);
    this.total = Object.keys(peers).length;
    this.dirty.clear();
  }

  sorted(peers, ids) {
    const accepted = ids.filter((id) => this.accepts(peers[id]));
    return accepted.map((id) => ({ id, key: this.key(peers[id]) })).sort(this.compare);
  }
}
