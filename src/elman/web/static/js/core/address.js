// The address holds the whole view: #/SCREEN?run=..&rec=..&cell=..

// What stays when the screen changes; everything else belongs to the screen that set it.
const SHARED = ["run", "rec", "hyp", "pattern", "cell", "at", "pins"];
const listeners = new Set();

/** The view that an address says: {screen, run, rec, ...}, all texts. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { ...Object.fromEntries(new URLSearchParams(query)), screen: path || "" };
}

/** The address of a view; empty values are left out. */
export function format(view) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    if (name !== "screen" && value !== null && value !== undefined && value !== "" && value !== false) {
      query.set(name, String(value));
    }
  }
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `#/${view.screen}${text ? `?${text}` : ""}`;
}

/** The view now. */
export function current() {
  return parse(location.hash);
}

/** The view after changes: another screen keeps only what all screens share. */
export function changed(changes, from = current()) {
  const leaves = changes.screen !== undefined && changes.screen !== from.screen;
  const kept = leaves ? Object.fromEntries(SHARED.filter((name) => name in from).map((name) => [name, from[name]]))
    : from;
  const next = { ...kept, ...changes };
  if (changes.run !== undefined && changes.run !== from.run && from.run) {
    for (const name of SHARED.slice(1)) if (!(name in changes)) delete next[name];
  } else if (changes.rec !== undefined && changes.rec !== from.rec && from.rec) {
    for (const name of ["cell", "at", "pins"]) if (!(name in changes)) delete next[name];
  }
  return next;
}

/** Goes to a view. `replace` leaves no step for the back button: for cursors and scrolling. */
export function go(changes, { replace = false } = {}) {
  const target = format(changed(changes));
  if (target === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  tell();
}

/** The link to a view. */
export function link(changes) {
  return format(changed(changes));
}

function tell() {
  const view = current();
  for (const listener of listeners) listener(view);
}

/** Calls `listener(view)` whenever the address changes. */
export function onAddress(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The pinned cells of a view, as numbers. */
export function pinsOf(view) {
  return (view.pins ?? "").split(",").filter((text) => /^\d+$/.test(text)).map(Number).slice(0, 8);
}

/** A whole number of a view, or a default. */
export function numberOf(view, name, otherwise = null) {
  return /^-?\d+$/.test(view[name] ?? "") ? Number(view[name]) : otherwise;
}

addEventListener("hashchange", tell);
addEventListener("popstate", tell);
