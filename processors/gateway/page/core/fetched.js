// What is asked of the gateway once, over HTTP.

const LONGEST_MS = 10000;
const LONGEST_WORK_MS = 35000; // a little more than the gateway gives a replay

async function ask(path, options, longestMs = LONGEST_MS) {
  const limits = [AbortSignal.timeout(longestMs), ...(options.signal ? [options.signal] : [])];
  const response = await fetch(path, { cache: "no-store", ...options, signal: AbortSignal.any(limits) });
  const text = await response.text();
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  const body = isJson && text !== "" ? JSON.parse(text) : null;
  if (response.ok) return body;
  throw Object.assign(new Error(body?.error ?? `the gateway answered ${response.status}`), { status: response.status });
}

/** The body of a path. Throws an Error that says why, with its `status` if there was an answer. */
export function getJson(path, { signal } = {}) {
  return ask(path, { signal });
}

/** Have something done, as operators may. Returns the body of the answer; throws as `getJson` does. */
export function send(method, path, body) {
  return ask(path, { method, body: body === undefined ? undefined : JSON.stringify(body) }, LONGEST_WORK_MS);
}
