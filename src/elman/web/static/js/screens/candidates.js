// One hypothesis in full: its verdict in words, and the cells that come nearest.

import { bars } from "../charts/kinds.js";
import { figure } from "../charts/figure.js";
import { fileName } from "../charts/save.js";
import { NEGATIVE, POSITIVE, css } from "../core/colour.js";
import { h } from "../core/dom.js";
import { fixed, probability, signed, whole } from "../core/format.js";
import { table } from "../shell/table.js";

function columns(context, graded, label) {
  const number = (id, title, hint,
    cell) => ({ id, title, hint, number: true, best: "high", value: (row) => row[id], cell: cell
      ?? ((row) => fixed(row[id], 3)) });
  return [
    { id: "cell", title: "Cell", value: (row) => row.cell,
      cell: (row) =>
        h("a", { href: context.link({ screen: "cell", cell: row.cell, ...label }) },
          context.corpus.describe(row.cell)) },
    number("sign", "Sign", "Whether the cell is high or low where the label is on",
      (row) => (row.sign < 0 ? "\u2212" : "+")),
    graded ? number("spearman", "Spearman", "Held-out rank correlation") : number("f1", "F1", "Held-out F1"),
    graded ? null : number("precision", "Precision", "Held-out precision"),
    graded ? null : number("recall", "Recall", "Held-out recall"),
    number("auc", "AUC", "Held-out area under the ROC curve"),
    number("stratified_auc", "Stratified", "AUC within each current symbol"),
    number("mutual_information", "Bits", "Mutual information"),
    number("lag", "Lag", "Shift of the largest effect, in tokens", (row) => signed(row.lag, 0)),
    { ...number("p", "p", "Corrected over all cells", (row) => probability(row.p)), best: "low" },
    {
      id: "pin", title: "",
      cell: (row) =>
        h("button", { type: "button", class: "quiet small", "aria-label": `Pin ${context.corpus.describe(row.cell)}`,
          onclick: () => context.togglePin(row.cell) }, "Pin"),
    },
  ].filter(Boolean);
}

/** The section of one finding; `label` is what a link to a cell carries. */
export function candidates(context, finding, label) {
  const graded = finding.kind === "graded";
  const measure = graded ? "spearman" : "f1";
  const top = finding.cells.slice(0, 12);
  const { probe } = finding;
  return h(
    "section",
    { class: "card", "aria-label": finding.title },
    h("h2", {}, finding.title),
    finding.description && h("p", { class: "note" }, finding.description),
    h("p", { class: "lead" }, finding.sentence),
    top.length > 0 && h(
      "div",
      { class: "columns uneven" },
      figure(
        (width) => bars(width, top.map((cell) => ({
          name: context.corpus.describe(cell.cell), value: Math.abs(cell[measure] ?? 0),
          low: interval(cell, measure, 0), high: interval(cell, measure, 1),
          note: `${context.corpus.describe(cell.cell)}: AUC ${fixed(cell.auc, 3)}`,
            colour: css(cell.sign < 0 ? NEGATIVE : POSITIVE),
        })), { title: "Held-out score of the nearest cells", range: [0, 1], label: graded
          ? "held-out rank correlation, its size" : "held-out F1", tall: 20 }),
        { title: "The nearest cells", name: fileName(finding.hypothesis, "cells"),
          note: "Blue: high where the label is on; orange: low there. Lines: 95 % intervals." },
      ),
      table(columns(context, graded, label), finding.cells, { caption: `Cells nearest to ${finding.title}` }),
    ),
    probe && h("p", { class: "note" }, probed(finding)),
  );
}

function probed({ probe, kind, cells, constant_f1: constant }) {
  const said = `A sparse linear probe over ${whole(probe.cells)} cells reaches F1 ${fixed(probe.f1, 3)}, `
    + `one over all cells ${fixed(probe.dense_f1, 3)}`;
  if (kind === "graded") return `${said}.`;
  return `${said}; the best cell alone ${fixed(cells[0]?.f1, 3)}, saying yes everywhere ${fixed(constant, 3)}.`;
}

function interval(cell, measure, end) {
  const range = cell[`${measure}_interval`];
  if (!range || !Number.isFinite(range[0])) return undefined;
  const sizes = cell[measure] < 0 ? [-range[1], -range[0]] : range;
  return Math.max(0, sizes[end]);
}
