// The login, shown when the gateway asks for a token. The token goes into a cookie that no script can read.

import { setText } from "/static/core/dom.js";

const at = (id) => document.getElementById(id);

// At the start, and whenever the connection is lost: shows the form if a token is asked for, and has the page know what
// its reader may do (`data-access` of the document: open, viewer or operator).
export async function checkAccess() {
  try {
    const response = await fetch("/api/health", { cache: "no-store" });
    if (response.status === 401 && !at("login").open) at("login").showModal();
    if (response.ok) showAccess((await response.json()).access);
  } catch {
    // The gateway is away: the page says so.
  }
}

function showAccess(access) {
  document.documentElement.dataset.access = access;
  at("logout").hidden = access === "open";
}

// Why a token is refused; empty if it is not.
async function refusal(token) {
  try {
    const response = await fetch("/login", { method: "POST", body: JSON.stringify({ token }) });
    if (response.ok) return "";
    if (response.status !== 429) return "This token is not valid. It may have expired, or been taken back.";
    return `Too many wrong tokens. Try again in ${response.headers.get("Retry-After")} s.`;
  } catch {
    return "The gateway does not answer. Try again.";
  }
}

// Escape would leave a page that can do nothing.
at("login").addEventListener("cancel", (event) => event.preventDefault());

at("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = await refusal(at("token").value);
  if (problem === "") location.reload();
  setText(at("login-problem"), problem);
  at("token").setAttribute("aria-invalid", problem !== "");
  at("token").select();
});

at("logout").addEventListener("click", async () => {
  try {
    await fetch("/logout", { method: "POST" });
  } finally {
    location.reload(); // if the gateway is away the page says so, and the cookie stays
  }
});
