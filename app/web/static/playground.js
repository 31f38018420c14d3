/** The playground: a prompt becomes a picture, and the lines that put it to use. */

import { at, element, money, seconds, showProblem, size } from "./elements.js";
import { showLines } from "./lines.js";
import { Problem, paint } from "./service.js";

const form = at("composer"), prompt = at("prompt"), model = at("model"), shape = at("shape"), seed = at("seed");
const picture = at("picture"), status = at("status"), problem = at("playground-alert");

// What an entry may have been asked by that no field says.
const OPTIONS = ["quality", "background", "moderation", "style", "negative_prompt", "mask"];

let waiting = null;
let prices = new Map();

/** Return what the fields ask for, in the API's own names. */
function wanted() {
  return {
    prompt: prompt.value.trim(),
    model: model.value === "default" ? undefined : model.value,
    aspect_ratio: shape.value || undefined,
    seed: seed.value === "" ? undefined : seed.value,
  };
}

async function submit() {
  // A second click while one waits would only ask for the same.
  if (waiting) return;
  const mine = waiting = new AbortController();
  const asked = wanted(), clock = startClock();
  showProblem(problem, null);
  showBusy(asked.prompt);
  try {
    if (seed.validity.badInput) throw new Problem({ title: "Invalid seed", detail: "A seed is a whole number from 0 to 4294967295." });
    const found = await paint(asked, { onState: clock.tell, signal: mine.signal });
    const took = clock.stop();
    await show(asked, found);
    showVerdict(found, took);
    showLines(asked, { sign: true });
  } catch (error) {
    clock.stop();
    if (waiting !== mine) return;
    if (mine.signal.aborted) status.textContent = "You stopped waiting; a painting that has begun goes on.";
    else {
      status.textContent = "";
      showProblem(problem, Problem.from(error));
    }
  } finally {
    if (waiting === mine) {
      waiting = null;
      showBusy(null);
    }
  }
}

/** Say how long it takes: ten times a second to the eye, every ten seconds to a screen reader. */
function startClock() {
  const began = performance.now();
  const what = element("span", {}, "asking"), time = element("span", { "aria-hidden": "true" });
  const spoken = element("span", { class: "unseen" });
  const say = (text, where = what) => { if (where.textContent !== text) where.textContent = text; };
  const tick = () => {
    const passed = (performance.now() - began) / 1000, tens = 10 * Math.floor(passed / 10);
    time.textContent = ` · ${passed.toFixed(1)} s`;
    if (tens) say(` for ${tens} s`, spoken);
  };
  status.replaceChildren(what, time, spoken);
  tick();
  const timer = setInterval(tick, 100);
  return {
    tell(state) {
      say(state.state === "queued" && state.queue_position ? `painting: number ${state.queue_position} in the queue` : "painting");
      showProgress(state.progress);
    },
    stop() {
      clearInterval(timer);
      return (performance.now() - began) / 1000;
    },
  };
}

/** Show that *text* is being painted, or with null that nothing is. */
function showBusy(text) {
  const isBusy = text !== null, isFirst = picture.hidden;
  picture.parentElement.classList.toggle("is-busy", isBusy);
  at("nothing").hidden = isBusy || !isFirst;
  at("in-work").textContent = text ?? "";
  at("in-work").hidden = !isBusy || !isFirst;
  at("working").hidden = !isBusy;
  at("stop").hidden = !isBusy;
  at("paint").setAttribute("aria-disabled", String(isBusy));
  showProgress(null);
}

function showProgress(progress) {
  const bar = at("working");
  bar.classList.toggle("is-known", typeof progress === "number");
  bar.style.setProperty("--share", `${100 * (progress ?? 0)}%`);
}

async function show(asked, { blob, model: painter, address }) {
  const shown = picture.src, next = new Image();
  next.src = URL.createObjectURL(blob);
  await next.decode().catch(() => {
    throw new Problem({ title: "No picture", detail: `The browser can't show ${blob.type || "these bytes"}.` });
  });
  picture.src = next.src;
  picture.alt = asked.prompt;
  picture.width = next.naturalWidth;
  picture.height = next.naturalHeight;
  picture.hidden = false;
  if (shown) URL.revokeObjectURL(shown);
  const facts = [`${next.naturalWidth} × ${next.naturalHeight}`, blob.type.replace("image/", "").toUpperCase(), size(blob.size)];
  if (painter) facts.push(`by ${painter}`);
  at("caption").hidden = false;
  at("caption").replaceChildren(
    element("span", { class: "title" }, asked.prompt),
    element("span", { class: "soft" }, `${facts.join(" · ")} · `, element("a", { href: address }, "the picture alone")),
  );
}

function showVerdict({ cache, hits }, took) {
  const verdict = element("b", { class: cache === "HIT" ? "hit" : "miss" }, cache ?? "?");
  const how = { HIT: ` in ${seconds(took)}`, MISS: `, painted in ${seconds(took)}` }[cache] ?? `, ${seconds(took)}`;
  status.replaceChildren(verdict, how, hits ? ` · hit number ${hits}` : "");
}

function showPrice() {
  const price = prices.get(model.value);
  at("price").textContent = price ? `A new picture costs ${money(price)}.` : "";
}

/** Offer *models*, each with its name and its price. */
export function offer(models) {
  const chosen = model.value;
  prices = new Map(models.map(({ name, price }) => [name, price]));
  model.replaceChildren(...models.map(({ name }) => element("option", {}, name)));
  if (prices.has(chosen)) model.value = chosen;
  showPrice();
}

/** Say whether the fields can say all that an entry was asked by: else it would be another, and be paid for. */
export const canRepeat = ({ parameters: { width, variant, references, ...others } }) =>
  !width && !variant && !references?.length && !OPTIONS.some((name) => others[name]);

/** Fill the fields with what an entry was asked by, and ask again. */
export function repeat({ prompt: text, parameters }) {
  prompt.value = text;
  // The models file may have lost the alias; the service says so.
  if (!prices.has(parameters.model)) model.append(element("option", {}, parameters.model));
  model.value = parameters.model;
  shape.value = parameters.aspect_ratio ?? "";
  seed.value = parameters.seed ?? "";
  // Whatever was waited for is not what is to be seen now.
  waiting?.abort();
  waiting = null;
  return submit();
}

form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
form.addEventListener("input", () => { showLines(wanted()); showPrice(); });
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
at("stop").addEventListener("click", () => { waiting?.abort(); at("paint").focus(); });
at("examples").addEventListener("click", (event) => {
  if (event.target.tagName !== "BUTTON") return;
  prompt.value = event.target.textContent;
  submit();
});
showLines(wanted());
