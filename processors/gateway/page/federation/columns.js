// The columns of the table of peers: what they sort by, what they say, and which rows a filter lets through.

import { bytes, number, span } from "/static/core/format.js";

const TIERS = ["core", "trusted", "verified"];
const STATUSES = ["online", "syncing", "offline"];
const DIGITS = 12;
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g; // they would turn around what is written beside them, too
const VISIBLE = /[^\p{C}\p{Z}]/u;

// What the words of a filter look at: all of it, or what is named before a colon.
const FIELDS = {
  id: (row) => row.id,
  name: (row) => row.hostname ?? "",
  tier: (row) => row.tier ?? "unknown",
  status: (row) => row.status,
  from: (row) => row.learnt_from,
};

const rank = (names, name) => (names.includes(name) ? names.indexOf(name) : names.length);

/** The name that a peer goes by: its hostname, if there is something to be seen of it. */
export function nameOf({ hostname, id }) {
  const shown = hostname?.replace(DIRECTIONS, "");
  return shown !== undefined && VISIBLE.test(shown) ? shown : id;
}

// node-2 comes before node-10.
const natural = (text) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(DIGITS, "0"));

/**
 * @typedef {object} Column
 * @property {string} name as the address has it
 * @property {string} title
 * @property {(row: object) => number|string|null|undefined} key what it sorts by; what is unknown comes last
 * @property {(row: object, now: number) => string} [text] what it says of a row whose key is known
 * @property {boolean} [isNumber]
 * @property {boolean} [isDown] whether the greatest comes first at the first press
 */

/** @type {Column[]} */
export const COLUMNS = [
  { name: "name", title: "Peer", key: (row) => natural(nameOf(row)) },
  { name: "tier", title: "Tier", key: (row) => row.tier && rank(TIERS, row.tier), text: (row) => row.tier },
  { name: "status", title: "Status", key: (row) => rank(STATUSES, row.status) },
  { name: "suspicion", title: "Suspicion", key: (row) => row.suspicion, text: (row) => number(row.suspicion, 1),
    isNumber: true, isDown: true },
  { name: "latency", title: "Latency", key: (row) => row.latency_ms, text: (row) => `${number(row.latency_ms, 1)} ms`,
    isNumber: true },
  { name: "shared", title: "Shared", key: (row) => row.data_shared, text: (row) => bytes(row.data_shared).join(" "),
    isNumber: true, isDown: true },
  { name: "seen", title: "Last seen", key: (row) => -row.last_seen,
    text: (row, now) => `${span(now - row.last_seen)} ago`, isNumber: true },
  { name: "from", title: "Learnt from", key: (row) => row.learnt_from, text: (row) => row.learnt_from },
];

/** The test of a filter: all of its words must occur. `status:offline` looks at one field only. */
export function accepting(filter) {
  const tests = filter.toLowerCase().split(/\s+/).filter((word) => word !== "").map((word) => {
    const [name, rest] = word.split(/:(.*)/s);
    const read = rest !== undefined && Object.hasOwn(FIELDS, name) ? FIELDS[name] : null;
    return read === null ? (_row, all) => all().includes(word) : (row) => read(row).toLowerCase().includes(rest);
  });
  return (row) => {
    const all = () => Object.values(FIELDS).map((read) => read(row)).join("\n").toLowerCase();
    return tests.every((test) => test(row, all));
  };
}
