// Which view is shown: the part of the address after `#`, as `#/peers/ark-node-1?at=1700000000000`.

const VIEWS = { "": "federation", federation: "federation", peers: "peer", memory: "memory", sources: "pipeline" };

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand: a lone percent sign
  }
}

/** What the address asks for: `{view, id, parameters}`; `id` is a peer's, or null. An unknown view is the first one. */
export function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, ...rest] = path.split("/");
  const id = rest.length > 0 && rest[0] !== "" ? decoded(rest.join("/")) : null;
  const isKnown = Object.hasOwn(VIEWS, name) && (name !== "peers" || id !== null);
  const view = isKnown ? VIEWS[name] : "federation";
  return { view, id, parameters: new URLSearchParams(query) };
}

/** Change parameters of the address, null takes one off; nothing else is shown by that. */
export function replaceParameters(changes) {
  const { parameters } = route();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) parameters.delete(name);
    else parameters.set(name, value);
  }
  const [path] = (location.hash || "#/federation").split("?");
  const query = parameters.size > 0 ? `?${parameters}` : "";
  history.replaceState(history.state, "", `${path}${query}`);
}
