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

/** Have `parent` hold these elements, in their order. The one with the focus is not moved, which would take it away. */
export function place(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = null;
  for (const element of elements.toReversed()) {
    const isRight = element.parentNode === parent && element.nextSibling === next;
    if (!isRight && !element.contains(document.activeElement)) parent.insertBefore(element, next);
    next = element;
  }
}

/** An unchanged text is not written: it would be laid out, and read out, again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
