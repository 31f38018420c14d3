/** Tabs as the ARIA practices want them: arrows move, Home and End go to the ends. */

import { at } from "./elements.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];
const opened = new Map();

/** Call *callback* whenever the panel *name* is opened. */
export const onOpen = (name, callback) => opened.set(name, callback);

export function open(name, { focus = false } = {}) {
  for (const tab of tabs) {
    const isThis = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(isThis));
    tab.tabIndex = isThis ? 0 : -1;
    at(tab.getAttribute("aria-controls")).hidden = !isThis;
    if (isThis && focus) tab.focus();
  }
  history.replaceState(null, "", name === "playground" ? location.pathname : `#${name}`);
  opened.get(name)?.();
}

/** Open the panel that the address names, else the first. */
export function openAddressed() {
  const named = tabs.map((tab) => tab.getAttribute("aria-controls")).find((name) => location.hash === `#${name}`);
  open(named ?? "playground");
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => open(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    open(tabs.at(to % tabs.length).getAttribute("aria-controls"), { focus: true });
  });
}
