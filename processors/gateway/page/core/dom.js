// Elements made from text that is only ever set as text.

/** An HTML element with a class and content. */
export function make(name, className = "", ...content) {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  made.append(...content);
  return made;
}

/** An SVG element with attributes and content. */
export function draw(name, attributes, ...content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** An unchanged text is not written: it would be laid out, and read out, again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
