// The causal lab: cells are put at a value, and what that costs under a label is measured; then the model writes
// with them.

import { pinsOf } from "../core/address.js";
import { path } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { watched } from "../shell/progress.js";
import { lesionReport } from "./lesion_report.js";
import { besideSection } from "./beside.js";

const MODES = [
  ["off", "its mean where off"],
  ["on", "its mean where on"],
  ["mean", "its mean"],
  ["zero", "zero"],
  ["resample", "values of other places"],
  ["set", "a value"],
];
const KEYS = ["cells", "mode", "value", "strength"];
// zero lies between the two values of many cells and hides what they do
const DEFAULTS = { mode: "off", value: "0", strength: "1" };

export async function open(context) {
  const { corpus } = context;
  const controller = new AbortController();
  const hypotheses = await corpus.hypotheses();
  const results = new Map();
  let chosen = [];
  let shown = "";

  const progress = h("div", {});
  const report = h("div", { class: "analysis" });
  const list = h("ul", { class: "chips" });
  const add = h("input",
    { type: "text", class: "cell-place", spellcheck: "false", autocomplete: "off", placeholder: "0:c:17",
      "aria-label": "Add a cell, as layer:name:unit" });
  const mode = h("select", {}, MODES.map(([value, title]) => h("option", { value }, title)));
  const value = h("input", { type: "number", step: "0.1", value: "0" });
  const valueLabel = h("label", {}, "Value", value);
  const strength = h("input",
    { type: "number", step: "0.1", min: "0", max: "10", value: "1",
      title: "0 leaves the cell alone, 1 puts it at the value" });
  const label = h("select", {}, hypotheses.map((each) => h("option", { value: each.name }, each.title)));
  const run = h("button", { type: "submit", class: "primary" }, "Measure what it costs");

  /** The lesion as the server takes it, each cell an entry. */
  function interventions() {
    const shared = { mode: mode.value, strength: Number(strength.value) };
    if (mode.value === "set") shared.value = Number(value.value);
    return chosen.map((cell) => ({ ...corpus.place(cell), ...shared }));
  }

  /** The label, by its name and, where it is the user's own, its pattern. */
  function labelled() {
    const known = hypotheses.find((each) => each.name === label.value);
    return { hypothesis: label.value, ...(known?.regex ? { regex: known.regex } : {}) };
  }

  const beside = besideSection(context, () => ({ interventions: interventions(), ...labelled() }));

  function remember(more = {}) {
    const own = { mode: mode.value, strength: strength.value, value: mode.value === "set" ? value.value : null };
    context.go({ cells: chosen.join(","), hyp: label.value, ...own, ...more }, { replace: true });
  }

  function addCell(cell) {
    if (cell === null || chosen.includes(cell) || chosen.length >= 32) return false;
    chosen = [...chosen, cell];
    remember({ done: null });
    return true;
  }

  function typed() {
    const [layer, name, unit] = add.value.split(":");
    const cell = corpus.find(Number(layer), name, Number(unit));
    if (add.value && addCell(cell)) {
      add.value = "";
      add.removeAttribute("aria-invalid");
    } else if (add.value) add.setAttribute("aria-invalid", "true");
  }

  function drawCells() {
    const pins = pinsOf(context.view).filter((cell) => !chosen.includes(cell) && cell < corpus.cells);
    show(
      list,
      chosen.map((cell) => h("li", {}, corpus.describe(cell),
        h("button", { type: "button", class: "quiet small", "aria-label": `Leave out ${corpus.describe(cell)}`,
          onclick: () => { chosen = chosen.filter((each) => each !== cell); remember({ done: null }); } }, "\u00d7"))),
      pins.map((cell) =>
        h("li", { class: "offered" },
          h("button", { type: "button", class: "quiet small", onclick: () => addCell(cell) },
            `+ ${corpus.describe(cell)}`))),
    );
    run.disabled = chosen.length === 0;
  }

  async function measure(key) {
    run.disabled = true;
    const hypothesis = label.value;
    const known = hypotheses.find((each) => each.name === hypothesis);
    const body = { cells: chosen.map((cell) => corpus.place(cell)), mode: mode.value, strength: Number(strength.value),
      ...labelled() };
    if (mode.value === "set") body.value = Number(value.value);
    const result = results.get(key)
      ?? (await watched(progress, "Lesioning", path`recordings/${corpus.id}/lesion`, body, controller.signal));
    run.disabled = false;
    if (controller.signal.aborted) return;
    if (result === undefined) {
      shown = "";
      context.go({ done: null }, { replace: true });
      return;
    }
    results.set(key, result);
    show(report, lesionReport(corpus, result, known?.title ?? hypothesis));
    context.announce(result.sentence ?? "Lesion measured");
  }

  mode.addEventListener("change", () => remember({ done: null }));
  for (const input of [value, strength, label]) input.addEventListener("change", () => remember({ done: null }));

  const element = h(
    "div",
    { class: "page" },
    h("h1", {}, "Causal lab"),
    h("p", { class: "lead" },
      "A cell that goes with a label need not be used. Take it away while the network reads: if the loss rises "
        + "where the label is on, and not elsewhere, and not for other cells, it is."),
    h(
      "form",
      { class: "card", novalidate: true,
        onsubmit: (event) => { event.preventDefault(); typed(); if (chosen.length) remember({ done: 1 }); } },
      h("div", { class: "row-of" }, h("span", { class: "quiet-text" }, "Cells"), list, add,
        h("button", { type: "button", onclick: typed }, "Add")),
      h("div", { class: "row-of controls" },
        h("label", {}, "Put at", mode), valueLabel, h("label", {}, "Strength", strength),
          h("label", {}, "Where", label), run),
      progress,
    ),
    report,
    beside.element,
  );

  return {
    element,
    keys: [["w", "write beside", () => beside.write()]],
    update(view) {
      const fallback = view.cell !== undefined && view.cells === undefined ? view.cell : "";
      chosen = (view.cells
        ?? fallback).split(",").filter((text) => /^\d+$/.test(text)).map(Number).filter((cell) => cell < corpus.cells);
      const wanted = Object.fromEntries(KEYS.slice(1).map((name) => [name, view[name] ?? DEFAULTS[name]]));
      mode.value = MODES.some(([name]) => name === wanted.mode) ? wanted.mode : DEFAULTS.mode;
      value.value = wanted.value;
      strength.value = wanted.strength;
      valueLabel.hidden = mode.value !== "set";
      if (view.hyp && hypotheses.some((each) => each.name === view.hyp)) label.value = view.hyp;
      else label.value = (hypotheses.find((each) => each.suggested) ?? hypotheses[0])?.name ?? "";
      drawCells();
      beside.update(view);
      const key = JSON.stringify([chosen, wanted, label.value]);
      if (view.done && chosen.length && key !== shown) {
        shown = key;
        measure(key);
      }
    },
    close() {
      controller.abort();
      beside.close();
    },
  };
}
