/** The key and the project: kept in this tab's session storage, and nowhere else. */

const KEY = "paintonce.key", PROJECT = "paintonce.project";

// A browser that forbids storage still lets one try things out.
const forgetful = new Map();

function read(name) {
  try { return sessionStorage.getItem(name) ?? ""; } catch { return forgetful.get(name) ?? ""; }
}

function write(name, value) {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch { forgetful.set(name, value); }
}

export const settings = {
  get key() { return read(KEY); },
  set key(value) { write(KEY, value); },
  get project() { return read(PROJECT); },
  set project(value) { write(PROJECT, value); },
};
