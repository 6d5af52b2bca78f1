// The colours of the present theme as a canvas needs them.

const NAMES = ["bg", "panel", "line", "text", "soft", "cyan", "gold", "green", "red"];
let colours = null; // null: to be read

/** By their names in the style sheet, without the dashes. */
export function palette() {
  if (colours === null) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

/** The theme is another one. */
export function forgetPalette() {
  colours = null;
}
