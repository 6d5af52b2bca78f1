// Numbers and moments as people read them. Unknown is undefined or null, is never shown as 0, and is not for these.

export const DASH = "\u2014";
export const UNKNOWN = `${DASH} unknown`;

const FORMATS = [0, 1, 2, 3].map(
  (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
);
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** With thousands separated, and so many digits, at most three, after the point. */
export function number(value, digits = 0) {
  return FORMATS[digits].format(value);
}

/** A rate of one in a minute is 0.02 a second: small values keep their digits. */
export function rate(value) {
  return number(value, value === 0 ? 0 : value < 1 ? 2 : value < 100 ? 1 : 0);
}

/** As [text, unit]. */
export function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return [number(value, unit === 0 || value >= 100 ? 0 : 1), UNITS[unit]];
}

/** The time of day of a moment, ms. */
export function clock(ms) {
  return CLOCK.format(ms);
}

/** A moment that may be long ago: with its day, unless that is today. */
export function moment(ms) {
  const day = DAY.format(ms);
  return day === DAY.format(Date.now()) ? clock(ms) : `${day}, ${clock(ms)}`;
}

/** With a plus or a minus sign before it. */
export function signed(value, digits) {
  const sign = value > 0 ? "+" : value < 0 ? "\u2212" : "";
  return sign + number(Math.abs(value), digits);
}

/** A length of time, ms. */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
