/** Settings: which key, which project, and what the service says to them. */

import { at, money, showFigures, showProblem } from "./elements.js";
import { offer } from "./playground.js";
import { offerWidths } from "./renditions.js";
import { Problem, get } from "./service.js";
import { settings } from "./settings.js";
import { open } from "./tabs.js";

// Fields whose text was changed and not yet entered: an answer that comes
// meanwhile touches none of them.
const typed = new Set();

// Before the service has said yes once, there is no project to ask about.
let isLetIn = false;

const key = at("key"), project = at("project"), status = at("settings-status"), problem = at("settings-alert");

/** Ask whether key and project are good; say so, or where not, open the settings. */
export async function tryAccess({ announce = false } = {}) {
  const field = { unauthenticated: key, invalid_parameter: project };
  showProblem(problem, null);
  try {
    const { models, rendition_widths: widths } = await get("/api/v1/models");
    offer(models);
    offerWidths(widths);
    isLetIn = true;
    if (announce) status.textContent = settings.key ? "Saved. The service knows this key." : "Saved.";
  } catch (error) {
    const said = Problem.from(error);
    isLetIn = false;
    if (typed.size) return;
    status.textContent = announce ? "Saved." : "";
    if (!(said.code in field)) return announce ? showProblem(problem, said) : undefined;
    open("settings");
    field[said.code].focus();
    if (settings.key || settings.project) showProblem(problem, said);
    else at("settings-note").textContent = "This service asks for a key. It goes out in a header and is kept in this tab only: it is gone when you close it.";
  }
}

/** Show what is set, and what the project may spend. */
export async function showSettings() {
  fill();
  const figures = isLetIn ? await get("/api/v1/project").then(figuresOf, () => []) : [];
  showFigures(at("project-figures"), figures);
}

/** Show what is kept in the fields that were not typed into since. */
function fill() {
  if (!typed.has(key)) key.value = settings.key;
  if (!typed.has(project)) project.value = settings.project;
}

function figuresOf(known) {
  const limit = (value, unit) => (value ? unit(value) : "none");
  return [
    ["Project", known.project],
    ["Painting", known.generation ? "on" : "off"],
    // While Redis is away it is not known.
    ["Spent today", known.spent_today === null ? "unknown" : money(known.spent_today)],
    ["Budget a day", limit(known.budget_per_day, money)],
    ["Requests a minute", limit(known.rate_limit_per_minute, String)],
  ];
}

at("settings-form").addEventListener("input", (event) => typed.add(event.target));
at("settings-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  settings.key = key.value.trim();
  settings.project = project.value.trim();
  typed.clear();
  fill();
  await tryAccess({ announce: true });
  await showSettings();
});
