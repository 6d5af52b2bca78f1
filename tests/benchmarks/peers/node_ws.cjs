// Node's `ws` as a peer of the benchmark `fanout`: `node node_ws.cjs PORT`; see servers.py, which does the same.
"use strict";

const readline = require("node:readline");
const { WebSocketServer } = require("ws");
const body = require("./body.json");

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false });

// The next tick is sent when the last client's socket has taken this one.
function send(number, end) {
  if (number === end) return;
  const text = Buffer.from(JSON.stringify({ ...body, ts: number }));
  const clients = [...server.clients];
  const last = clients.pop();
  for (const client of clients) client.send(text, { binary: false });
  last.send(text, { binary: false }, () => setImmediate(send, number + 1, end));
}

server.on("listening", () => console.log("listening"));
readline.createInterface({ input: process.stdin }).on("line", (line) => send(0, Number(line))).on("close", () => process.exit());
