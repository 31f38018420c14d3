/** The gallery: what is painted, with its hits, to refresh and to purge. */

import { age, at, counted, element, showProblem } from "./elements.js";
import { canRepeat, repeat } from "./playground.js";
import { ofAFrame } from "./renditions.js";
import { Problem, ask, follow, get } from "./service.js";
import { open } from "./tabs.js";

const ENTRIES = "/api/v1/live/entries", IMAGES = "/api/v1/images/";
const A_PAGE = 24;
const wall = at("wall"), more = at("more"), status = at("gallery-status"), problem = at("gallery-alert"), dialog = at("purge");

let cursor = null;
// Of several answers only the one that was asked for last is shown.
let newest = 0;

/** Show the first page. */
export function showGallery() {
  cursor = null;
  status.textContent = "";
  return loadPage();
}

async function loadPage() {
  const mine = newest += 1, isFirst = cursor === null;
  const from = isFirst ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  showProblem(problem, null);
  more.disabled = true;
  try {
    const page = await get(`${ENTRIES}?limit=${A_PAGE}&sort=${at("order").value}${from}`);
    if (mine !== newest) return;
    const articles = page.entries.map(article);
    if (isFirst) wall.replaceChildren(...(articles.length ? articles : [nothing()]));
    else wall.append(...articles);
    cursor = page.cursor;
    more.hidden = cursor === null;
    if (!isFirst) articles[0]?.querySelector("a").focus();
  } catch (error) {
    if (mine !== newest) return;
    if (isFirst) wall.replaceChildren();
    more.hidden = isFirst;
    showProblem(problem, Problem.from(error));
  } finally {
    more.disabled = false;
  }
}

function nothing() {
  return element("div", { class: "nothing" },
    element("p", { class: "display" }, "Nothing hangs here yet."),
    element("p", { class: "soft" }, "What is painted in this project is kept, and shown here."),
    element("p", {}, element("button", { type: "button", class: "quiet", click: () => open("playground", { focus: true }) }, "Paint the first")));
}

function article(entry) {
  const title = element("h3", { id: `entry-${entry.prompt_hash}`, title: entry.prompt }, entry.prompt);
  const made = element("article", { "aria-labelledby": title.id });
  const button = (name, click) => element("button", { type: "button", class: "quiet", click }, name);
  made.append(
    element("a", { class: "frame", href: IMAGES + entry.storage_key },
      picture(entry)),
    title,
    element("p", { class: "facts" },
      `${counted(entry.hits, "hit", "hits")} · `,
      element("time", { datetime: entry.created_at, title: new Date(entry.created_at).toLocaleString("en") }, age(entry.created_at)),
      ` · by ${entry.model}`),
    element("div", { class: "buttons" },
      ...(canRepeat(entry) ? [button("Open", () => { open("playground", { focus: true }); repeat(entry); })] : []),
      button("Refresh", () => change(made, () => refresh(made, entry))),
      button("Purge", () => askToPurge(made, entry))),
  );
  return made;
}

function picture(entry) {
  const src = IMAGES + entry.storage_key;
  const made = element("img", { src, ...ofAFrame(src), alt: entry.prompt, width: entry.width, height: entry.height, loading: "lazy" });
  // One that can't be drawn smaller is shown as it is.
  made.addEventListener("error", () => made.removeAttribute("srcset"), { once: true });
  return made;
}

/** Do *work* on one picture; its buttons are out of use meanwhile. */
async function change(made, work) {
  if (made.getAttribute("aria-busy") === "true") return;
  made.setAttribute("aria-busy", "true");
  showProblem(problem, null);
  try {
    await work();
  } catch (error) {
    status.textContent = "";
    showProblem(problem, Problem.from(error));
  } finally {
    made.removeAttribute("aria-busy");
  }
}

async function refresh(made, entry) {
  const path = `${ENTRIES}/${entry.prompt_hash}`;
  status.textContent = "Painting it anew.";
  const answer = await ask(`${path}/refresh`, { method: "POST", headers: { Prefer: "respond-async" } });
  if (answer.status === 202) await follow(answer.headers.get("Location"));
  const renewed = article(await get(path));
  const hadFocus = made.contains(document.activeElement);
  made.replaceWith(renewed);
  status.textContent = "Painted anew.";
  if (hadFocus) renewed.querySelector("button").focus();
}

async function askToPurge(made, entry) {
  at("purge-text").textContent = entry.prompt;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
  if (dialog.returnValue !== "purge") return;
  await change(made, async () => {
    await ask(`${ENTRIES}/${entry.prompt_hash}`, { method: "DELETE" }).catch((error) => {
      // Another request removed it first: it is gone as intended.
      if (error.code !== "not_found") throw error;
    });
    const next = made.nextElementSibling ?? made.previousElementSibling;
    made.remove();
    status.textContent = "Purged.";
    if (next) next.querySelector("button").focus();
    else showGallery();
  });
}

more.addEventListener("click", loadPage);
at("order").addEventListener("change", showGallery);
