// The bar at the top: what is looked at, the screens, theme and keys.

import { link } from "../core/address.js";
import { h, s, show } from "../core/dom.js";
import { short } from "../core/format.js";
import { switchTheme, theme } from "../core/theme.js";
import { help } from "./keys.js";
import { screensOf } from "./registry.js";

const host = document.getElementById("header");

function mark() {
  const colours = ["#2166ac", "#7ba3cd", "#d3e0ee", "#d66004", "#2166ac", "#f7dfcd", "#e6a068", "#d66004", "#2166ac"];
  return s(
    "svg",
    { width: 18, height: 18, viewBox: "0 0 12 12", "aria-hidden": "true" },
    colours.map((fill, k) => s("rect", { x: 4 * (k % 3), y: 4 * Math.floor(k / 3), width: 4, height: 4, fill })),
  );
}

function moon() {
  return s(
    "svg",
    { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" },
    s("circle", { cx: 8, cy: 8, r: 6.25, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }),
    s("path", { d: "M8 1.75a6.25 6.25 0 0 1 0 12.5z", fill: "currentColor" }),
  );
}

/** What a recording is called in the bar. */
export function recordingName(recording) {
  const said = `${short(recording.length)} tokens, ${short(recording.cells)} cells`;
  return recording.untrained ? `untrained: ${said}` : said;
}

function picker(name, value, entries, onPick) {
  if (!entries.length) return null;
  return h(
    "label",
    { class: "picker" },
    h("span", { class: "visually-hidden" }, name),
    h(
      "select",
      { "aria-label": name, onchange: (event) => onPick(event.target.value) },
      entries.map(([id, title]) => h("option", { value: id, selected: id === value }, title)),
    ),
  );
}

/** Draws the bar for a view. */
export function drawHeader(context, view) {
  const { run } = context;
  const usable = context.runs.filter((each) => !each.error);
  const recordings = run?.recordings ?? [];
  show(
    host,
    h("a", { class: "brand", href: "#/runs", "aria-label": "Elman, all runs" }, mark(), h("span", { class: "brand-name" }, "Elman")),
    h(
      "div",
      { class: "pickers" },
      run && picker("Run", run.id, usable.map((each) => [each.id, each.name]), (id) => context.go({ run: id })),
      run && recordings.length > 1
        && picker("Recording", view.rec, recordings.map((each) => [each.id, recordingName(each)]),
          (id) => context.go({ rec: id })),
    ),
    h(
      "nav",
      { "aria-label": "Screens" },
      screensOf(run).map((screen) =>
        h("a", { href: link({ screen: screen.id }), "aria-current": screen.id === view.screen ? "page" : null },
          screen.title)),
    ),
    h(
      "div",
      { class: "tools" },
      h("button", {
        type: "button", class: "quiet", "aria-label": "Dark or light", title: "Dark or light",
        "aria-pressed": String(theme() === "dark"),
        onclick: (event) => {
          switchTheme();
          event.currentTarget.setAttribute("aria-pressed", String(theme() === "dark"));
        },
      }, moon()),
      h("button", { type: "button", class: "quiet", "aria-label": "Keys", title: "Keys (?)", onclick: help }, "?"),
    ),
  );
  host.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}
