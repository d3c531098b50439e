// Alignment: a sentence is typed, the likeliest translations appear, and the heat map says where the model looked.

import { figure } from "../charts/figure.js";
import { label } from "../charts/plot.js";
import { fileName } from "../charts/save.js";
import { tipped } from "../charts/tooltip.js";
import { path, post } from "../core/api.js";
import { diverging, levelOf } from "../core/colour.js";
import { h, s, settled, show } from "../core/dom.js";
import { fixed, percent, visible } from "../core/format.js";
import { theme, token } from "../core/theme.js";
import { notice } from "../shell/context.js";
import { table } from "../shell/table.js";

const LARGEST = 30; // pixels of a cell
const KEPT = 1000; // characters of a sentence that an address holds

function named(symbol) {
  return visible(symbol.trim() || symbol);
}

function heatMap(width, source, translation) {
  const { symbols, weights, token_logprobs: logprobs } = translation;
  const ink = token("--ink");
  const longest = (names) => 8 + 6.6 * Math.max(...names.map((name) => Array.from(named(name)).length));
  const left = Math.min(longest(symbols), width / 3);
  const top = longest(source);
  const size = Math.max(4, Math.min(LARGEST, (width - left - 4) / source.length));
  const palette = diverging(theme());
  const svg = s("svg", {
    width, height: top + size * symbols.length + 4, role: "img",
    "aria-label": `Attention of ${symbols.length} written symbols over ${source.length} read ones`,
  });
  const step = Math.ceil(11 / size); // where cells are small, not every symbol has room for its name
  source.forEach((name, at) => {
    if (at % step) return;
    const x = left + (at + 0.5) * size;
    svg.append(label(x, top - 5, named(name),
      { anchor: "start", colour: ink, baseline: "middle", transform: `rotate(-90 ${x} ${top - 5})` }));
  });
  symbols.forEach((name, row) => {
    const y = top + row * size;
    if (row % step === 0) svg.append(
      label(left - 5, y + size / 2, named(name), { anchor: "end", colour: ink, baseline: "central" }));
    source.forEach((read, at) => {
      const weight = weights[row][at];
      const cell = s("rect",
        { x: left + at * size, y, width: size - 1, height: size - 1, fill: palette.css[levelOf(weight)] });
      svg.append(tipped(cell, () =>
        `${named(name)} looked at ${named(read)} with ${percent(weight)}; `
          + `log p of it ${fixed(logprobs[row], 2)} nats`));
    });
  });
  return svg;
}

export function open(context) {
  const { run } = context;
  const sentence = h("textarea", { rows: "3", spellcheck: "false", "aria-label": "Sentence" });
  const beam = h("input", { type: "number", value: "5", min: "1", max: "16", step: "1",
    title: "Translations that are kept at every step; 1 is greedy" });
  const normalisation = h("input", { type: "number", value: "0.6", min: "0", max: "2", step: "0.1",
    title: "0 ranks by probability, towards 1 favours longer translations" });
  const problem = h("div", {});
  const written = h("div", {});
  const looked = h("div", {});
  let asked = null;

  function picture({ source, translations }, chosen) {
    const translation = translations[chosen];
    if (!translation.weights) {
      show(looked, h("p", { class: "note" }, "This model has no attention: the decoder sees the encoder's last state."));
      return;
    }
    show(looked, figure((width) => heatMap(width, source, translation),
      { title: "Where it looked", name: fileName(run.name, "alignment"), large: true,
        note: `Row by row what was written, column by column what was read; a row sums to 1. ${translation.text}` }));
  }

  function listed(result) {
    const rows = result.translations.map((each, place) => ({ ...each, place }));
    return table(
      [
        { id: "text", title: "Translation", value: (row) => row.text,
          cell: (row) => h("button",
            { type: "button", class: "plain", title: "Show where the model looked",
              onclick: () => picture(result, row.place) }, visible(row.text).replaceAll("\u2423", " ") || "(empty)") },
        { id: "logprob", title: "log p", hint: "Nats, of the whole translation", number: true, best: "high",
          value: (row) => row.logprob, cell: (row) => fixed(row.logprob, 2) },
        { id: "each", title: "a symbol", hint: "Nats a symbol", number: true, best: "high",
          value: (row) => row.logprob_a_token, cell: (row) => fixed(row.logprob_a_token, 3) },
      ],
      rows,
      { caption: "Translations, best first" },
    );
  }

  async function ask() {
    asked?.abort();
    const mine = new AbortController();
    asked = mine;
    context.go({ sentence: sentence.value.length > KEPT ? "" : sentence.value, beam: beam.value, normalisation: normalisation.value }, { replace: true });
    show(problem);
    try {
      const width = Number(beam.value);
      const result = await post(path`runs/${run.id}/translations`,
        { text: sentence.value, beam: width, n_best: Math.min(5, width), normalisation: Number(normalisation.value) },
        mine.signal);
      show(written, result.translations.length > 0 && listed(result));
      show(looked);
      if (result.translations.length) {
        context.announce(result.translations[0].text);
        picture(result, 0);
      }
    } catch (error) {
      if (error.name !== "AbortError") show(problem, notice(error, ask));
    }
  }

  const follow = settled(ask, 400);
  for (const input of [sentence, beam, normalisation]) input.addEventListener("input", follow);
  let begun = false;
  return {
    element: h(
      "div",
      { class: "page" },
      h("h1", {}, "Alignment"),
      h(
        "div",
        { class: "columns two" },
        h("form", { class: "stack", novalidate: true, onsubmit: (event) => { event.preventDefault(); ask(); } },
          h("label", { class: "broad" }, "Sentence", sentence),
          h("div", { class: "row-of controls" }, h("label", {}, "Beam", beam),
            h("label", {}, "Length normalisation", normalisation)),
          h("div", { class: "row-of" }, h("button", { type: "submit", class: "primary" }, "Translate")),
          problem, written),
        h("section", { class: "card" }, looked),
      ),
    ),
    update(view) {
      if (begun) return;
      begun = true;
      sentence.value = view.sentence ?? "";
      beam.value = view.beam ?? beam.value;
      normalisation.value = view.normalisation ?? normalisation.value;
      if (sentence.value) ask();
    },
  };
}
