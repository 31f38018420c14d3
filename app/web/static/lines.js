/** The ready lines: an img tag, signed where the service has a signing key, curl and Python. */

import { at } from "./elements.js";
import { pythonLines } from "./python.js";
import { ofATag, srcset } from "./renditions.js";
import { ask, get, liveAddress } from "./service.js";
import { settings } from "./settings.js";

const SIGNED_FOR_SECONDS = 365 * 86_400;
const COPIED_FOR_MS = 2500;

let current = null;

/** Show the lines of what is *wanted*; with *sign* the address gets a signature. */
export async function showLines(wanted, { sign = false } = {}) {
  const line = { wanted, address: unsigned(wanted), sources: unsignedSources(wanted) };
  current = line;
  at("img-note").textContent = settings.key ? "Unsigned: it works for callers that send a key." : "";
  write(line);
  if (sign) await addSignature(line);
}

function unsigned(wanted) {
  const project = settings.project && !settings.key ? `&project=${encodeURIComponent(settings.project)}` : "";
  return location.origin + liveAddress(wanted) + project;
}

/** Return whether there is a signing key, and the right to it: a refusal would stand in the console. */
const canSign = () => get("/api/v1/project").then((known) => known.can_sign, () => false);

/** Return the widths of the tag, each with its address. */
function unsignedSources(wanted) {
  const { widths = [], format } = ofATag() ?? {};
  return widths.map((w) => ({ w, url: unsigned({ ...wanted, w, format }) }));
}

async function addSignature(line) {
  if (!(await canSign())) return;
  const { seed, ...others } = line.wanted;
  const json = { ...others, seed: seed === undefined ? undefined : Number(seed), expires_in: SIGNED_FOR_SECONDS };
  const sign = async (more) => (await ask("/api/v1/sign", { method: "POST", json: { ...json, ...more } })).json();
  let signed = null, sources = null;
  try {
    signed = await sign({});
    // The picture itself for browsers of before, and its renditions for the others.
    sources = ofATag() && (await sign(ofATag())).srcset;
  } catch {
    // The plain address is what there is.
  }
  // What is asked for may be another by now.
  if (signed === null || current !== line) return;
  line.address = signed.url;
  line.sources = sources ?? [];
  at("img-note").textContent = `Signed: anyone may show it until ${new Date(signed.expires_at).toLocaleDateString("en", { dateStyle: "long" })}.`;
  write(line);
}

function write({ wanted, address, sources }) {
  if (!wanted.prompt) return writeForms();
  at("img-line").textContent = `<img src="${attribute(address)}"${sizesOf(sources)} alt="${attribute(wanted.prompt)}">`;
  const words = ["curl -sS -D - -o picture"];
  if (settings.key) words.push('-H "X-API-Key: $PAINTONCE_API_KEY"');
  if (settings.project) words.push(`-H ${quoted(`X-Project: ${settings.project}`)}`);
  words.push(quoted(location.origin + liveAddress(wanted)));
  at("curl-line").textContent = words.join(" ");
  at("python-line").textContent = pythonLines(wanted);
}

function sizesOf(sources) {
  return sources.length ? ` srcset="${attribute(srcset(sources))}" sizes="100vw"` : "";
}

/** Show what the lines will look like. */
function writeForms() {
  const address = `${location.origin}/api/v1/live/generate?prompt=…`;
  at("img-line").textContent = `<img src="${address}" alt="…">`;
  at("curl-line").textContent = `curl -sS -D - -o picture '${address}'`;
  at("python-line").textContent = pythonLines({ prompt: "…" });
}

const attribute = (text) => text.replace(/&/g, "&amp;").replace(/"/g, "&quot;").replace(/</g, "&lt;");
const quoted = (text) => `'${text.replace(/'/g, "'\\''")}'`;

async function copy(button, line) {
  // A page that is not served over https has no clipboard of its own.
  const done = await (navigator.clipboard?.writeText(line.textContent) ?? Promise.reject()).then(
    () => true,
    () => {
      getSelection().selectAllChildren(line);
      return document.execCommand("copy");
    },
  );
  const told = button.parentElement.querySelector(".copied");
  told.textContent = done ? "Copied" : "Select it, and copy it by hand";
  setTimeout(() => { told.textContent = ""; }, COPIED_FOR_MS);
}

for (const [button, line] of [["copy-img", "img-line"], ["copy-curl", "curl-line"], ["copy-python", "python-line"]]) {
  at(button).addEventListener("click", (event) => copy(event.currentTarget, at(line)));
}
