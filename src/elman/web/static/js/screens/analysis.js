// A screen around one job of a run: a button, its progress, what came out. The result stays for as long as the page.

import { path } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { watched } from "../shell/progress.js";

const results = new Map();

/**
 * Asks for an analysis of a run, or gives the one that is known.
 *
 * `host` shows the progress; undefined where it failed or was called off.
 */
export async function analysed(host, run, kind, title, body = {}, signal = undefined) {
  const key = JSON.stringify([run, kind, body]);
  if (!results.has(key)) {
    const result = await watched(host, title, path`runs/${run}/` + kind, body, signal);
    if (result === undefined) return undefined;
    results.set(key, result);
  }
  return results.get(key);
}

/**
 * The frame of such a screen.
 *
 * `options`: {kind, title, doing, lead, draw(result) -> nodes}. Its address has `done=1` once it was asked for, so that
 * a link leads to the result.
 */
export function analysisScreen(context, options) {
  const { run } = context;
  const controller = new AbortController();
  const progress = h("div", {});
  const body = h("div", { class: "analysis" });
  const button = h("button",
    { type: "button", class: "primary", onclick: () => context.go({ done: 1 }, { replace: true }) }, options.button);
  const intro = h("div", { class: "column-text" }, h("p", { class: "lead" }, options.lead), button);
  let asked = false;

  async function ask() {
    asked = true;
    button.disabled = true;
    const result = await analysed(progress, run.id, options.kind, options.doing, {}, controller.signal);
    button.disabled = false;
    if (result === undefined) {
      asked = false;
      if (!controller.signal.aborted) context.go({ done: null }, { replace: true });
      return;
    }
    intro.hidden = true;
    show(body, options.draw(result));
    context.announce(`${options.title}: done`);
  }

  return {
    element: h("div", { class: "page" }, h("h1", {}, options.title), intro, progress, body),
    update(view) {
      if (view.done && !asked) ask();
    },
    close: () => controller.abort(),
  };
}
