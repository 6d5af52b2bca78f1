// The page: one store, a view for each route, and what stands above them.

import { checkAccess } from "/static/login.js";
import { make } from "/static/core/dom.js";
import { Part, changeAll } from "/static/core/part.js";
import { route } from "/static/core/router.js";
import { Store } from "/static/core/store.js";
import "/static/core/theme.js";
import "/static/elements/standing.js";
import "/static/federation/view.js";
import "/static/federation/peer_view.js";
import "/static/memory/view.js";
import "/static/pipeline/view.js";
import "/static/time/timeline.js";

const VIEWS = ["federation", "peer", "memory", "pipeline"];
const LINKS = { peer: "federation" }; // views that are reached from another one

const store = new Store(location.origin);
Part.store = store;

const views = VIEWS.map((name) => [name, make(`pulse-${name}`, "view")]);

function showRoute() {
  const { view } = route();
  for (const [name, element] of views) element.hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === (LINKS[view] ?? view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  changeAll();
}

store.addEventListener("standing", () => store.standing.kind === "connected" || checkAccess());
addEventListener("hashchange", () => {
  showRoute();
  scrollTo(0, 0);
});

// A link to it would be another route.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector("main").focus();
});

document.getElementById("standing").append(make("pulse-standing"));
document.getElementById("buttons").prepend(make("pulse-theme"));
document.getElementById("time").append(make("pulse-timeline"));
document.querySelector("main").append(...views.map(([, element]) => element));
showRoute();
checkAccess();
