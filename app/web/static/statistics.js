/** Statistics: the figures of the project, and its last hours as plots and as a table. */

import { at, count, counted, element, money, seconds, share, showFigures, showProblem, size } from "./elements.js";
import { barPlot, ratePlot } from "./plots.js";
import { Problem, get } from "./service.js";

const problem = at("statistics-alert"), plots = at("plots");
let buckets = [];
let newest = 0;

/** Ask for the figures and the hours, and show them. */
export async function showStatistics() {
  const mine = newest += 1;
  showProblem(problem, null);
  const [totals, history] = await Promise.allSettled([
    get("/api/v1/live/stats"),
    get(`/api/v1/live/stats/history?hours=${at("span").value}`),
  ]);
  if (mine !== newest) return;
  if (totals.status === "fulfilled") showTotals(totals.value);
  if (history.status === "fulfilled") {
    buckets = history.value.buckets;
    showHistory();
  }
  const failed = [totals, history].find(({ status }) => status === "rejected");
  if (failed) showProblem(problem, Problem.from(failed.reason));
}

function showTotals(totals) {
  showFigures(at("figures"), [
    ["Pictures", count(totals.entries)],
    ["Hits", count(totals.hits)],
    ["Misses", count(totals.misses)],
    ["Hit rate", share(totals.hit_rate)],
    ["Coalesced", count(totals.coalesced)],
    ["Failures", count(totals.failures)],
    ["Stored", size(totals.bytes_stored)],
    ["Painting time", seconds(totals.generation_seconds)],
    ["Spent", money(totals.spend)],
    ["Saved", money(totals.saved)],
  ]);
}

const asked = ({ hits, misses }) => hits + misses;
const rate = (bucket) => (asked(bucket) ? bucket.hits / asked(bucket) : null);

function showHistory() {
  const isQuiet = !buckets.some(asked);
  at("statistics-status").textContent = isQuiet ? "Nothing was asked for in these hours." : "";
  drawPlots();
  const rows = [...buckets].reverse().map((bucket) => [
    hour(bucket.at), count(bucket.hits), count(bucket.misses),
    asked(bucket) ? share(rate(bucket)) : "-", money(bucket.saved),
  ]);
  const head = ["Hour", "Hits", "Misses", "Hit rate", "Saved"];
  at("hours").replaceChildren(element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map(([first, ...others]) => (
      element("tr", {}, element("th", { scope: "row" }, first), ...others.map((text) => element("td", {}, text)))
    )))));
}

function drawPlots() {
  const width = plots.clientWidth;
  if (!width || !buckets.length) return;
  const totals = (name) => buckets.reduce((sum, bucket) => sum + bucket[name], 0);
  const legend = element("span", { class: "legend" },
    element("i", { class: "hit" }), counted(totals("hits"), "hit", "hits"),
    element("i", { class: "miss" }), counted(totals("misses"), "miss", "misses"));
  const all = totals("hits") + totals("misses");
  plots.replaceChildren(
    figure("Requests per hour", legend, barPlot("Requests per hour", buckets, width, [["hits", ({ hits }) => hits], ["misses", ({ misses }) => misses]])),
    figure("Hit rate", all ? share(totals("hits") / all) : "", ratePlot("Hit rate", buckets, width, rate)),
    figure("Money saved", money(totals("saved")), barPlot("Money saved", buckets, width, [["saved", ({ saved }) => saved]])),
  );
}

function figure(name, beside, plot) {
  const head = element("div", { class: "plot-head" }, element("h3", {}, name), element("span", { class: "legend" }, beside));
  return element("figure", {}, head, plot);
}

const hour = (time) => new Date(time).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

at("span").addEventListener("change", showStatistics);
new ResizeObserver(drawPlots).observe(plots);
