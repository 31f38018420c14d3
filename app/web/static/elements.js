/** Elements, and numbers as people read them. Prompts are hostile: text is only ever text. */

export const at = (id) => document.getElementById(id);

/** Make an element; what is not a node becomes text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(attribute, value);
    else if (value !== undefined) made.setAttribute(attribute, value);
  }
  made.append(...children);
  return made;
}

/** Show a problem in its alert region, or clear the region. */
export function showProblem(region, problem) {
  region.hidden = !problem;
  if (!problem) return region.replaceChildren();
  const small = [];
  if (problem.status) small.push(`status ${problem.status}`);
  if (problem.code) small.push(problem.code);
  if (problem.retryAfter) small.push(`try again in ${problem.retryAfter} s`);
  if (problem.requestId) small.push(`request ${problem.requestId}`);
  const parts = [element("strong", {}, problem.title)];
  if (problem.detail) parts.push(element("p", {}, problem.detail));
  if (small.length) parts.push(element("p", { class: "soft small" }, small.join(" · ")));
  return region.replaceChildren(...parts);
}

/** Fill a list of figures from pairs of name and text. */
export function showFigures(list, figures) {
  list.replaceChildren(...figures.map(([name, text]) => (
    element("div", {}, element("dt", {}, name), element("dd", {}, text))
  )));
}

export const seconds = (value) => `${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} s`;
export const count = (value) => value.toLocaleString("en");
export const counted = (value, one, many) => `${count(value)} ${value === 1 ? one : many}`;
export const share = (value) => `${(100 * value).toFixed(value === 1 || value === 0 ? 0 : 1)} %`;
export const money = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 });

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${["", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function age(time) {
  const passed = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (passed < 5) return "just now";
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (passed >= length) return `${Math.floor(passed / length)} ${unit} ago`;
  }
  return `${Math.floor(passed)} s ago`;
}
