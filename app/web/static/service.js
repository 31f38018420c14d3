/** The service behind the page: requests, problems, and generations to their end. */

import { settings } from "./settings.js";

const GENERATE = "/api/v1/live/generate";
// Reconnects without any news in between, before a generation is given up.
const MAX_ATTEMPTS = 8;
const LONGEST_PAUSE_SECONDS = 10;

/** A problem document (RFC 9457), or what stands in for it where there was no answer. */
export class Problem extends Error {
  constructor({ title, detail = "", status = null, code = "", request_id: requestId = "" }, retryAfter = null) {
    super(title);
    Object.assign(this, { title, detail, status, code, requestId, retryAfter });
  }

  static from(error) {
    if (error instanceof Problem) return error;
    return new Problem({ title: "No answer", detail: "The service can't be reached, or its answer broke off." });
  }
}

/** Return the answer to a request with key and project; throw the `Problem` that it is. */
export async function ask(path, { headers = {}, json, ...options } = {}) {
  const own = { ...headers };
  if (settings.key) own["X-API-Key"] = settings.key;
  if (settings.project) own["X-Project"] = settings.project;
  if (json !== undefined) {
    own["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  }
  // The browser's own copy of a picture would never be a HIT.
  const answer = await fetch(path, { cache: "no-store", headers: own, ...options });
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export const get = async (path, options) => (await ask(path, options)).json();

async function problemOf(answer) {
  const isOurs = (answer.headers.get("Content-Type") ?? "").startsWith("application/problem+json");
  const said = isOurs ? await answer.json().catch(() => null) : null;
  const retryAfter = Number(answer.headers.get("Retry-After")) || null;
  return new Problem(
    { title: "Unexpected answer", detail: "Something between here and the service answered.", status: answer.status, ...said },
    retryAfter,
  );
}

/** Return the query of live generation for a prompt and its parameters. */
export function queryOf({ prompt, ...parameters }) {
  const given = Object.entries({ prompt, ...parameters }).filter(([, value]) => value !== undefined);
  // A quote would end the shell's argument, or the attribute.
  const encoded = (value) => encodeURIComponent(value).replace(/'/g, "%27");
  return given.map(([name, value]) => `${name}=${encoded(value)}`).join("&");
}

export const liveAddress = (wanted) => `${GENERATE}?${queryOf(wanted)}`;

/** Return the picture of a prompt: its bytes, and what its headers say. */
export async function paint(wanted, { onState, signal }) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await paintOnce(wanted, { onState, signal });
    } catch (error) {
      // It is repeated only where that can't pay twice: someone is painting it already.
      if (error.code !== "still_generating" || attempt === MAX_ATTEMPTS) throw error;
      await pause(error.retryAfter ?? 2, signal);
    }
  }
}

async function paintOnce(wanted, { onState, signal }) {
  const path = liveAddress(wanted);
  const answer = await ask(path, { headers: { Prefer: "respond-async" }, signal });
  if (answer.status !== 202) return pictureOf(answer);
  onState(await answer.json());
  let done;
  try {
    done = await follow(answer.headers.get("Location"), { onState, signal });
  } catch (error) {
    if (error.code !== "not_found") throw error;
    // The news of it is lost, which it may be; the painting goes on, so wait for it.
    return pictureOf(await ask(path, { signal }));
  }
  // The permalink is not counted: the first one who asks again gets the first hit.
  const address = pathOf(done.image_url);
  const [picture, entry] = await Promise.all([
    ask(address, { signal }),
    get(`/api/v1/live/entries/${done.prompt_hash}`, { signal }).catch(() => ({})),
  ]);
  return { blob: await picture.blob(), cache: "MISS", hits: null, model: entry.model, address };
}

async function pictureOf(answer) {
  const said = (name) => answer.headers.get(name);
  return {
    blob: await answer.blob(),
    cache: said("X-Cache-Status"),
    hits: said("X-Cache-Hit-Count"),
    model: said("X-Model"),
    address: said("Content-Location"),
  };
}

/** Return the last state of a generation that is done; throw what it failed by. */
export async function follow(location, { onState = () => {}, signal } = {}) {
  const path = pathOf(location), seen = { id: null, attempts: 0 };
  while (seen.attempts < MAX_ATTEMPTS) {
    seen.attempts += 1;
    let last = null;
    try {
      last = await watch(path, seen, onState, signal);
    } catch (error) {
      // A replica that ends, or a connection that broke: the next one knows as much.
      const isAway = error instanceof TypeError || error.status === 503;
      if (signal?.aborted || !isAway) throw error;
    }
    if (last) return ended(last);
    await pause(Math.min(0.25 * 2 ** seen.attempts, LONGEST_PAUSE_SECONDS), signal);
  }
  throw new Problem({ title: "Lost sight of it", detail: "The painting goes on; paint again to look for it." });
}

/** Tell every state from *seen* on; return the last one, null where the stream ended early. */
async function watch(path, seen, onState, signal) {
  const headers = { Accept: "text/event-stream" };
  if (seen.id !== null) headers["Last-Event-ID"] = seen.id;
  const answer = await ask(`${path}/events`, { headers, signal });
  if (answer.status === 204) return get(path, { signal });
  for await (const event of eventsOf(answer.body)) {
    const state = JSON.parse(event.data);
    Object.assign(seen, { id: event.id, attempts: 0 });
    onState(state);
    if (state.state === "done" || state.state === "failed") return state;
  }
  return null;
}

function ended(state) {
  if (state.state === "failed") throw new Problem({ title: "Painting failed", ...state.error });
  return state;
}

/** Yield the `state` events of a stream (WHATWG HTML, 9.2.6). */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", event = { type: "message", data: [] }, id = null;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (event.type === "state" && event.data.length) yield { id, data: event.data.join("\n") };
          event = { type: "message", data: [] };
          continue;
        }
        const [, field, text] = /^([^:]*):? ?(.*)$/.exec(line);
        if (field === "event") event.type = text;
        if (field === "data") event.data.push(text);
        if (field === "id") id = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Return the path of an address of the service: this page talks to no other host. */
const pathOf = (address) => new URL(address, location.origin).pathname;

export const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
});
