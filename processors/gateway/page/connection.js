// One WebSocket that comes back by itself. Every frame is the whole state, so only the newest matters.

const PING_EVERY_MS = 5000;
const SILENT_AFTER_MS = 12000;
const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 15000;

export class Connection {
  // onState(state, receivedAt) for each whole state; onLost(sinceMs) as soon as the connection is lost.
  constructor(url, onState, onLost) {
    this.url = url;
    this.onState = onState;
    this.onLost = onLost;
    this.failures = 0;
    this.heardAt = 0;
    this.socket = null;
    this.retry = 0;
    setInterval(() => this.watch(), PING_EVERY_MS);
    addEventListener("online", () => this.open());
    document.addEventListener("visibilitychange", () => document.hidden || this.open());
    this.open();
  }

  open() {
    if (this.socket !== null) return;
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.heardAt = Date.now();
    socket.onmessage = (message) => {
      if (socket !== this.socket) return;
      this.heardAt = Date.now();
      const frame = JSON.parse(message.data);
      if ("as_of" in frame) {
        this.failures = 0;
        this.onState(frame, this.heardAt);
      }
    };
    socket.onclose = () => socket === this.socket && this.lose();
  }

  // A network that is gone says nothing: an answer that stays away is a lost connection.
  watch() {
    if (this.socket === null) return;
    if (Date.now() - this.heardAt > SILENT_AFTER_MS) {
      this.socket.close();
      this.lose();
    } else if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send("ping");
    }
  }

  lose() {
    this.socket = null;
    this.onLost(Date.now());
    // Growing, and random, so that a thousand pages do not come back at the same moment.
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.failures);
    this.failures += 1;
    this.retry = setTimeout(() => this.open(), longest * (0.5 + Math.random() / 2));
  }
}
