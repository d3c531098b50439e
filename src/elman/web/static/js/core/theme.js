// Light or dark: what the system prefers, unless the switch says otherwise.

const KEY = "elman-theme";
const media = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden; the switch then lasts as long as the page
  }
}

let chosen = stored();

/** "light" or "dark". */
export function theme() {
  return chosen === "light" || chosen === "dark" ? chosen : media.matches ? "dark" : "light";
}

function apply() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener(theme());
}

/** Turns to the other theme and remembers it; back at the system's own choice nothing is remembered. */
export function switchTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  chosen = next === (media.matches ? "dark" : "light") ? null : next;
  try {
    if (chosen) localStorage.setItem(KEY, chosen);
    else localStorage.removeItem(KEY);
  } catch {
    // see above
  }
  apply();
}

/** Calls `listener(theme)` at every change; returns how to stop that. */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** A custom property of the current theme, such as `--ink`: SVG that is exported must carry the colour itself. */
export function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

media.addEventListener("change", apply);
apply();
