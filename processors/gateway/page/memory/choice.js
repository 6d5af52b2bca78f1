// Which memory engines are shown: all together, or the node that the address names, as `#/memory?node=ark-node-1`.

import { kindOf } from "/static/core/origin.js";
import { changeAll } from "/static/core/part.js";
import { replaceParameters, route } from "/static/core/router.js";

/** The node that is shown alone; null: all together. */
export const chosenNode = () => route().parameters.get("node");

/** Show a node alone, or with null all together. */
export function choose(node) {
  replaceParameters({ node });
  changeAll();
}

/** The nodes that are told one by one, by id. */
export const nodesOf = (store) => store.value("memory")?.nodes ?? {};

/** The values that are shown; null while they are unknown. */
export function chosenValues(store) {
  const [node, nodes] = [chosenNode(), nodesOf(store)];
  if (node === null) return store.value("memory");
  return Object.hasOwn(nodes, node) ? nodes[node] : null;
}

/** What those of them are that a group, "reasoning" or "code", feeds. */
export function chosenOrigin(store, group) {
  if (chosenNode() === null) return store.origin("memory", group);
  return store.asHeard(kindOf(chosenValues(store)?.[group]));
}
