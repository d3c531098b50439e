// A job on the page: how far it is, and a button that calls it off.

import { job } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { percent } from "../core/format.js";
import { notice } from "./context.js";

/**
 * Runs a job with its progress shown in `host`; the result, or undefined where it was called off or failed.
 *
 * `title` says what is being done.
 */
export async function watched(host, title, where, body, signal) {
  const controller = new AbortController();
  signal?.addEventListener("abort", () => controller.abort(), { once: true });
  const bar = h("progress", { max: "1", value: 0, "aria-label": title });
  const share = h("span", { class: "number" }, "");
  const message = h("span", { class: "quiet-text" }, "");
  const spoken = h("span", { class: "visually-hidden", role: "status" }, title);
  show(
    host,
    h("div", { class: "progress" }, h("strong", {}, title), bar, share, message, spoken,
      h("button", { type: "button", onclick: () => controller.abort() }, "Cancel")),
  );
  let lastSpoken = 0;
  try {
    const result = await job(where, body, {
      signal: controller.signal,
      progress(done, said) {
        bar.value = done ?? 0;
        show(share, percent(done ?? 0, 0));
        show(message, said ?? "");
        if (done - lastSpoken >= 0.25) {
          lastSpoken = done;
          show(spoken, `${title}: ${percent(done, 0)}`);
        }
      },
    });
    show(host);
    return result;
  } catch (error) {
    if (error.name === "AbortError") show(host,
      h("p", { class: "quiet-text", role: "status" }, `${title}: cancelled.`));
    else show(host, notice(error));
    return undefined;
  }
}
