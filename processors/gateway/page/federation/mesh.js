// The mesh as a living picture: the core in the middle, peers on bands by tier and latency, syncs as lights between
// them. Two canvases: peers and lights are put anew in every picture frame while anything moves; what lies below them
// is drawn when something of it changed.

import { make, setText } from "/static/core/dom.js";
import { animate } from "/static/core/frames.js";
import { mark, setMark } from "/static/core/origin.js";
import { palette } from "/static/core/palette.js";
import { Part } from "/static/core/part.js";
import { region } from "/static/elements/panel.js";
import { Card } from "/static/federation/mesh_card.js";
import { Crowd } from "/static/federation/mesh_layout.js";
import { inWords, legend } from "/static/federation/mesh_legend.js";
import { FEW, paint } from "/static/federation/mesh_picture.js";
import { Layer } from "/static/federation/mesh_pixels.js";
import { lightShapes, peerShapes } from "/static/federation/mesh_shapes.js";
import { Lights, Pairs } from "/static/federation/mesh_traces.js";
import { address } from "/static/federation/peers.js";

const REFRESH_MS = 100; // between two looks at the store while something moves
const LONGEST_STEP_MS = 40; // that peers move on by, also after a rest
const NEAR = 12; // px around the pointer
const MOST_NAMES = 24;
const NAMES_FROM = 560; // width of a picture with names, px
const FRESH_MS = 1000; // of the records that were there already, those that are shown as they run
const STRONG_MS = 2000; // for which a sync is a strong line where nothing moves
const MOST_SCALE = 2; // device pixels of a px
const MOST_PIXELS = 4e6;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

class Mesh extends Part {
  static channels = ["peers", "sync", "federation"];

  build() {
    this.crowd = new Crowd();
    this.pairs = new Pairs();
    this.lights = new Lights();
    this.core = { x: 0, y: 0 }; // the end of a sync whose peer is not drawn
    this.width = this.height = 0; // of the picture, px; 0 while it is hidden
    this.scene = null; // what was drawn last; null before
    this.chosen = null; // id of the peer that is pointed at
    this.isDue = false; // whether something changed since the store was looked at
    this.isMoving = false; // whether peers are under way to their places
    this.isLit = false; // whether there are lights
    this.refreshedAt = this.steppedAt = -Infinity; // ms of the picture frames
    this.step = this.step.bind(this);
    this.ends = this.ends.bind(this);
    this.compose();
    this.layer = new Layer(this.above);
    calm.addEventListener("change", () => this.changed());
    new ResizeObserver(() => this.resize()).observe(this.picture);
  }

  compose() {
    const title = make("h3", "", "Mesh");
    this.mark = mark();
    title.append(this.mark);
    this.note = make("p", "note");
    this.below = make("canvas");
    this.below.setAttribute("role", "img");
    this.above = make("canvas");
    this.above.setAttribute("aria-hidden", "true");
    this.card = new Card();
    this.empty = make("p", "empty");
    this.picture = make("div", "mesh-picture", this.below, this.above, this.empty, this.card.element);
    this.append(region("mesh", title, title, this.note, this.picture, legend()));
    this.point();
  }

  point() {
    const { above } = this;
    let opened = null; // whose view a click opens; null: nobody's
    const isFinger = ({ pointerType }) => pointerType === "touch";
    above.onpointermove = (event) => isFinger(event) || this.choose(this.under(event));
    above.onpointerleave = (event) => isFinger(event) || this.choose(null);
    above.onpointerdown = (event) => {
      const [before, now] = [this.chosen, this.under(event)];
      // A finger cannot point: its first tap tells who is there.
      opened = isFinger(event) && now !== before ? null : now;
      this.choose(now);
    };
    above.onclick = () => {
      if (opened !== null) location.hash = address(opened);
    };
  }

  under({ offsetX, offsetY }) {
    return this.crowd.nearest(offsetX, offsetY, NEAR)?.id ?? null;
  }

  choose(id) {
    if (id === this.chosen) return;
    this.chosen = id;
    this.above.classList.toggle("pointing", id !== null);
    if (this.scene !== null) this.paintBelow();
  }

  take(update) {
    if (update.channel !== "sync") return;
    if (update.snapshot) {
      this.pairs.clear();
      this.lights.clear();
    }
    for (const record of update.records) this.pairs.add(record);
    if (this.isStill()) return;
    const since = update.snapshot ? this.store.now() - FRESH_MS : -Infinity;
    this.lights.add(update.records.filter(({ ts }) => ts > since), this.ends, performance.now());
  }

  draw() {
    this.isDue = true;
    if (!this.isStill()) {
      animate(this.step);
      return;
    }
    this.lights.clear();
    this.jump();
  }

  tick() {
    if (this.pairs.expire(this.store.now()) || calm.matches) this.changed();
  }

  // Nothing moves by itself: somebody does not want it to, or nothing is heard.
  isStill() {
    const { standing, shown } = this.store;
    return calm.matches || standing.kind !== "connected" || (shown.past && shown.speed === 0);
  }

  // One picture frame. Returns whether there is to be another one.
  step(now) {
    if (this.width === 0 || this.isStill()) return false;
    const isRefreshed = this.isDue && now - this.refreshedAt >= REFRESH_MS;
    if (isRefreshed) this.refresh(now);
    if (isRefreshed || this.isMoving) {
      this.isMoving = this.crowd.advance(Math.min(LONGEST_STEP_MS, now - this.steppedAt));
      if (isRefreshed || this.crowd.drawn.length <= FEW) this.paintBelow();
    }
    if (isRefreshed || this.isMoving || this.isLit) this.paintAbove(now);
    this.steppedAt = now;
    return this.isMoving || this.isLit || this.isDue;
  }

  // Take over what the store holds with everyone where he belongs, at once.
  jump() {
    if (this.width === 0) return;
    this.refresh(-Infinity);
    this.crowd.advance(Infinity);
    this.isMoving = false;
    this.paintBelow();
    this.paintAbove(performance.now());
  }

  paintBelow() {
    const chosen = this.crowd.nodes.get(this.chosen) ?? null;
    const freshSince = calm.matches ? this.store.now() - STRONG_MS : null;
    const syncs = this.pairs.held.values();
    paint(this.context, { ...this.scene, ends: this.ends, nodes: this.crowd.drawn, chosen, syncs, freshSince });
    this.card.show(chosen, this.width, this.height);
  }

  paintAbove(now) {
    const { layer, scene } = this;
    layer.clear();
    for (const { row, kind, x, y } of this.crowd.drawn) {
      layer.put(scene.peers.status(row.status), x, y);
      if (kind === "suspicious") layer.put(scene.peers.arc(row.suspicion), x, y);
    }
    this.isLit = this.lights.paint(layer, scene.lights, now);
    layer.show();
  }

  // Take over what the store holds at a moment of the picture frames, ms.
  refresh(now) {
    this.isDue = false;
    this.refreshedAt = now;
    const { store, crowd, width, height } = this;
    const rows = store.value("peers");
    crowd.take(rows ?? {});
    const hasNames = crowd.total <= MOST_NAMES && width >= NAMES_FROM;
    const frame = crowd.place(width, height, hasNames);
    [this.core.x, this.core.y] = [frame.x, frame.y];
    const health = store.value("federation")?.network_health ?? null;
    const origin = store.origin("peers");
    this.prepare();
    Object.assign(this.scene, { frame, hasNames, health, origin });
    setMark(this.mark, origin);
    this.tell(rows);
  }

  // The shapes, if the theme or their size is another one.
  prepare() {
    const colours = palette();
    const { crowd, scene, width, height, layer: { scale } } = this;
    const room = Math.sqrt((width * height) / Math.max(1, crowd.drawn.length));
    const radius = Math.round(2 * Math.min(7, Math.max(2.5, room * 0.14))) / 2;
    if (scene?.colours === colours && scene.scale === scale && scene.radius === radius) return;
    const { cyan, gold, red } = colours;
    const lights = lightShapes(scale, [cyan, gold, red], red);
    this.scene = { colours, scale, radius, lights, peers: peerShapes(radius, scale, colours) };
  }

  tell(rows) {
    const { total } = this.crowd;
    const words = inWords(this.crowd);
    let empty = "";
    if (this.store.unreached("peers")) empty = "The streams do not reach back to the peers of this moment.";
    else if (total === 0) empty = rows === null ? "Nothing is known of the peers yet." : "No peer is known.";
    setText(this.empty, empty);
    setText(this.note, words);
    const label = total === 0 ? empty : `${words} Names are in the table below.`;
    if (this.below.ariaLabel !== label) this.below.ariaLabel = label;
  }

  ends({ from, to }) {
    return [this.crowd.nodes.get(from) ?? this.core, this.crowd.nodes.get(to) ?? this.core];
  }

  // At once: a canvas of another size is empty.
  resize() {
    const { clientWidth: width, clientHeight: height } = this.picture;
    const scale = Math.min(MOST_SCALE, devicePixelRatio, Math.sqrt(MOST_PIXELS / (width * height)));
    if (width === this.width && height === this.height && scale === this.layer.scale) return;
    [this.width, this.height] = [width, height];
    if (width === 0) return;
    this.layer.resize(width, height, scale);
    [this.below.width, this.below.height] = [this.above.width, this.above.height];
    this.align(scale);
    this.context = this.below.getContext("2d");
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.jump();
  }

  // To whole device pixels, or the browser computes each pixel anew, which takes most of a picture frame.
  align(scale) {
    const { left, top } = this.picture.getBoundingClientRect();
    for (const { style, width, height } of [this.below, this.above]) {
      style.width = `${width / scale}px`;
      style.height = `${height / scale}px`;
      style.left = `${Math.round(left * scale) / scale - left}px`;
      style.top = `${Math.round(top * scale) / scale - top}px`;
    }
  }
}

customElements.define("pulse-mesh", Mesh);
