// Making a recording: what a screen shows where a run has none yet, and a part of the screen of runs.

import { path } from "../core/api.js";
import { h } from "../core/dom.js";
import { short, whole } from "../core/format.js";
import { watched } from "./progress.js";

/** The form: which text, how much of it, with which gates. Calls `done(recordingId)`. */
export function recordForm(context, done) {
  const { run } = context;
  const controller = new AbortController();
  const host = h("div", {});
  const source = h(
    "select",
    { id: "record-source" },
    run.text && h("option", { value: "file" }, run.text),
    h("option", { value: "validation" }, "the text held out of training"),
    h("option", { value: "train" }, "the text trained on"),
    h("option", { value: "own" }, "my own text"),
  );
  const own = h("textarea",
    { rows: "6", "aria-label": "The text", placeholder: "Paste a text here", spellcheck: "false", hidden: true });
  source.addEventListener("change", () => {
    own.hidden = source.value !== "own";
    limit.closest("label").hidden = source.value === "own";
  });
  const limit = h("input", { type: "number", min: "1000", max: "4000000", step: "1000", value: "1000000" });
  const gates = (run.gates ?? []).map((name) => [name, h("input", { type: "checkbox" })]);
  const size = h("p", { class: "note", role: "status" });
  const estimate = () => {
    const states = run.states?.length ?? 1;
    const cells = run.layers * run.hidden * (states + gates.filter(([, box]) => box.checked).length);
    const tokens = source.value === "own" ? own.value.length : Number(limit.value);
    size.textContent = Number.isFinite(cells * tokens) && cells
      ? `${whole(cells)} cells: about ${short(Math.round((cells * tokens) / 1e6))} MB on disk.` : "";
  };
  const button = h("button", { type: "submit", class: "primary" }, "Record");
  const form = h(
    "form",
    {
      class: "stack",
      novalidate: true,
      oninput: estimate,
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        const body = source.value === "own" ? { text: own.value }
          : { source: source.value, limit: Number(limit.value) };
        const chosen = gates.filter(([, box]) => box.checked).map(([name]) => name);
        if (chosen.length) body.gates = chosen;
        const result = await watched(host, "Recording", path`runs/${run.id}/recordings`, body, controller.signal);
        button.disabled = false;
        const id = result?.id ?? result?.recording;
        if (id) done(id);
      },
    },
    h("label", {}, "Text", source),
    own,
    h("label", {}, "At most, characters", limit),
    gates.length > 0
      && h("fieldset", { class: "checks" }, h("legend", {}, "Gates as well"),
        gates.map(([name, box]) => h("label", {}, box, name))),
    size,
    h("div", { class: "row-of" }, button),
    host,
  );
  estimate();
  return { element: form, close: () => controller.abort() };
}

/** The whole screen where a recording is needed and there is none. */
export function recordPanel(context) {
  const form = recordForm(context, async (id) => {
    await context.refreshRun(context.run.id);
    context.go({ rec: id }, { replace: true });
  });
  return {
    element: h(
      "div",
      { class: "column" },
      h("h1", {}, "Record the cells first"),
      h("p", { class: "lead" },
        `There is no recording of ${context.run.name} yet. The network reads a text once, and the value of `
          + `every cell after every token is kept.`),
      form.element,
    ),
    close: form.close,
  };
}
