// A canvas that is filled pixel by pixel. Where thousands of small shapes move at once that costs a fifth of copying
// them with `drawImage`, which does much for each and little for its pixels.

/** What `paint` draws around the origin, at most `radius` px away. */
export function shape(radius, scale, paint) {
  const half = Math.ceil(radius * scale);
  const side = 2 * half + 1;
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  context.setTransform(scale, 0, 0, scale, side / 2, side / 2);
  paint(context);
  const pixels = new Uint32Array(context.getImageData(0, 0, side, side).data.buffer);
  const places = Uint32Array.from(pixels.keys()).filter((place) => pixels[place] >>> 24 > 0);
  return {
    half,
    columns: Int16Array.from(places, (place) => (place % side) - half),
    rows: Int16Array.from(places, (place) => Math.floor(place / side) - half),
    colours: Uint32Array.from(places, (place) => pixels[place]), // alpha in the highest byte, not multiplied in
  };
}

/** The pixels of a canvas. */
export class Layer {
  constructor(canvas) {
    this.canvas = canvas;
    this.resize(1, 1, 1);
  }

  /** Size in px; `scale`: device pixels of a px. */
  resize(width, height, scale) {
    this.scale = scale;
    this.canvas.width = Math.ceil(width * scale);
    this.canvas.height = Math.ceil(height * scale);
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  clear() {
    this.pixels.fill(0);
  }

  /** Put a shape to a place, px, over what is there. What does not fit in is left out. */
  put({ half, columns, rows, colours }, x, y) {
    const { pixels, scale, image: { width, height } } = this;
    const [left, top] = [Math.round(x * scale), Math.round(y * scale)];
    if (left < half || top < half || left >= width - half || top >= height - half) return;
    const middle = top * width + left;
    for (let index = 0; index < colours.length; index += 1) {
      const at = middle + rows[index] * width + columns[index];
      pixels[at] = over(colours[index], pixels[at]);
    }
  }

  /** Have the canvas show what was put. */
  show() {
    this.context.putImageData(this.image, 0, 0);
  }
}

function over(colour, below) {
  const alpha = colour >>> 24;
  if (alpha === 255 || below === 0) return colour;
  const rest = ((below >>> 24) * (255 - alpha)) / 255;
  const sum = alpha + rest;
  const red = ((colour & 255) * alpha + (below & 255) * rest) / sum;
  const green = (((colour >>> 8) & 255) * alpha + ((below >>> 8) & 255) * rest) / sum;
  const blue = (((colour >>> 16) & 255) * alpha + ((below >>> 16) & 255) * rest) / sum;
  return ((sum << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
