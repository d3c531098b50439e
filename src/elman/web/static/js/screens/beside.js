// The model writes twice from one seed, as it is and lesioned, side by side.

import { events, path } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { fixed, whole } from "../core/format.js";
import { onTheme } from "../core/theme.js";
import { notice } from "../shell/context.js";
import { samplingControls } from "./playground.js";
import { Written } from "./written.js";

/** The section; `asked()` says what is done to the lesioned one: its interventions, and the label they refer to. */
export function besideSection(context, asked) {
  const { run, corpus } = context;
  const most = Math.log(Math.max(2, run.vocabulary_size ?? 100));
  const controls = samplingControls();
  const prompt = h("textarea", { rows: "2", spellcheck: "false", "aria-label": "Prompt", maxlength: "10000" });
  const panes = { plain: new Written(most, "As it is"), lesioned: new Written(most, "Lesioned") };
  const status = h("p", { class: "note", role: "status" });
  const problem = h("div", {});
  const stop = h("button", { type: "button", disabled: true, onclick: () => controller?.abort() }, "Stop");
  let controller = null;
  let begun = false;
  const stopTheme = onTheme(() => Object.values(panes).forEach((pane) => pane.recolour()));

  async function write() {
    const lesion = asked();
    if (!lesion.interventions.length) {
      show(problem, notice("Choose a cell first."));
      return;
    }
    controller?.abort();
    const mine = new AbortController();
    controller = mine;
    context.go({ prompt: prompt.value, ...controls.texts() }, { replace: true });
    show(problem);
    show(status, "Writing\u2026");
    panes.plain.clear();
    panes.lesioned.clear();
    stop.disabled = false;
    const counts = { plain: [], lesioned: [] };
    let parted = -1;
    const body = { prompt: prompt.value, ...controls.values(), ...lesion, beside: true, recording: corpus.id };
    try {
      for await (const [name, data] of events(path`runs/${run.id}/sample`, { body, signal: mine.signal })) {
        if (name === "token") {
          panes[data.which].add(data);
          const mineOf = counts[data.which];
          const other = counts[data.which === "plain" ? "lesioned" : "plain"];
          mineOf.push(data.id);
          if (parted < 0 && other.length >= mineOf.length
            && other[mineOf.length - 1] !== data.id) parted = mineOf.length - 1;
        } else if (name === "done") {
          const logprobs = [data.plain?.logprob, data.lesioned?.logprob].map((each) => fixed(each, 1));
          show(status, `Seed ${data.seed}. ${parted < 0 ? "The two are the same." : `They part at symbol ${whole(
            parted + 1)}.`} log p ${logprobs[0]} and ${logprobs[1]} nats.`);
        } else if (name === "failed" || name === "error") throw new Error(data.error);
      }
    } catch (error) {
      show(status, error.name === "AbortError" ? "Stopped." : "");
      if (error.name !== "AbortError") show(problem, notice(error, write));
    } finally {
      if (controller === mine) stop.disabled = true;
    }
  }

  return {
    element: h(
      "section",
      { class: "card", "aria-label": "Write with and without the cells" },
      h("h2", {}, "Let it write without them"),
      h("form", { class: "stack", novalidate: true, onsubmit: (event) => { event.preventDefault(); write(); } },
        h("label", { class: "broad" }, "Prompt", prompt), controls.element,
        h("div", { class: "row-of" }, h("button", { type: "submit", class: "primary" }, "Write both"), stop)),
      problem,
      h("div", { class: "beside" }, h("div", {}, h("h3", {}, "As it is"), panes.plain.element),
        h("div", {}, h("h3", {}, "Lesioned"), panes.lesioned.element)),
      status,
    ),
    write,
    update(view) {
      if (begun) return;
      begun = true;
      prompt.value = view.prompt ?? "";
      controls.set(view);
      if (view.prompt !== undefined && view.seed !== undefined && asked().interventions.length) write();
    },
    close() {
      controller?.abort();
      stopTheme();
      Object.values(panes).forEach((pane) => pane.close());
    },
  };
}
