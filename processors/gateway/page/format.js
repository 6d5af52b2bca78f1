// Numbers and moments as people read them. Unknown is null and is never shown as 0.

export const DASH = "\u2014";

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };

// The gateway escapes strings for ARK's older pages, which insert them as HTML. We insert text, so we undo it.
export function plain(text) {
  return String(text).replace(/&(?:amp|lt|gt|quot|#x27);/g, (entity) => ENTITIES[entity]);
}

export function number(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// A rate of one in a minute is 0.02 a second: small values keep their digits.
export function rate(value) {
  return number(value, value === 0 ? 0 : value < 1 ? 2 : value < 100 ? 1 : 0);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return [number(value, unit === 0 || value >= 100 ? 0 : 1), UNITS[unit]];
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

// A moment that may be long ago: with its day, unless that is today.
export function moment(ms) {
  const day = (each) => new Date(each).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return day(ms) === day(Date.now()) ? clock(ms) : `${day(ms)}, ${clock(ms)}`;
}

export function signed(value, digits) {
  const sign = value > 0 ? "+" : value < 0 ? "\u2212" : "";
  return sign + number(Math.abs(value), digits);
}

export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
