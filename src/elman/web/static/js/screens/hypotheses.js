// Which cell says what: every hypothesis with its best cell, and whether it held on the other half of the text.

import { path } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { fixed, percent, probability, signed, visible, whole } from "../core/format.js";
import { saveCsv, fileName } from "../charts/save.js";
import { watched } from "../shell/progress.js";
import { table } from "../shell/table.js";
import { candidates } from "./candidates.js";
import { huntForm, readPlan } from "./hunt_form.js";

const VERDICTS = { found: "found", weak: "weak", none: "no cell found" };

/** The best cell of a finding, or null. */
function best(finding) {
  return finding.cells?.[0] ?? null;
}

function graded(finding) {
  return finding.kind === "graded";
}

function interval(finding) {
  const range = best(finding)?.[graded(finding) ? "spearman_interval" : "f1_interval"];
  return range && range[0] !== null ? `${fixed(range[0], 2)} \u2013 ${fixed(range[1], 2)}` : "\u2013";
}

/** What a link to a cell under a finding carries: its label, and the pattern of one of the user's own. */
export function under(finding, known) {
  return { hyp: finding.hypothesis, pattern: known.find((each) => each.name === finding.hypothesis)?.regex ?? null };
}

function columns(context, known) {
  const number = (id, title, hint, value, cell,
    order = "high") => (
      { id, title, hint, number: true, best: order, value, cell: cell ?? ((row) => fixed(value(row), 3)) });
  const link = (row) => {
    const cell = best(row);
    if (!cell || row.verdict === "none") return h("span", { class: "quiet-text" }, "none");
    return h("a", { href: context.link({ screen: "cell", cell: cell.cell, ...under(row, known) }) },
      context.corpus.describe(cell.cell));
  };
  return [
    {
      id: "name", title: "Hypothesis", value: (row) => row.title,
      cell: (row) =>
        h("button", { type: "button", class: "plain", title: "The cells of this hypothesis",
          onclick: () => context.go(under(row, known)) }, visible(row.title).replaceAll("\u2423", " ")),
    },
    { id: "verdict", title: "Verdict", value: (row) => ["found", "weak", "none"].indexOf(row.verdict),
      cell: (row) => h("span", { class: `verdict ${row.verdict}` }, VERDICTS[row.verdict] ?? row.verdict) },
    { id: "cell", title: "Cell", value: (row) => best(row)?.cell, cell: link },
    number("f1", "F1", "Held-out F1 at the threshold chosen on the first half",
      (row) => (graded(row) ? null : best(row)?.f1)),
    { id: "interval", title: "95 %",
      hint: "Interval of the held-out F1, or of the rank correlation where the label is graded: moving-block bootstrap",
        number: true, cell: interval },
    number("auc", "AUC", "Held-out area under the ROC curve", (row) => best(row)?.auc),
    number("rho", "Spearman", "Held-out rank correlation with a graded label",
      (row) => (graded(row) ? best(row)?.spearman : null)),
    number("p", "p", "Corrected for all cells and all hypotheses; null of circular shifts of the labels",
      (row) => row.p_holm, (row) => probability(row.p_holm), "low"),
    number("strat", "Stratified", "AUC within each current symbol: a detector of one symbol scores 0.5",
      (row) => best(row)?.stratified_auc),
    number("mi", "Bits", "Mutual information, in bits", (row) => best(row)?.mutual_information),
    number("lag", "Lag", "Shift in tokens at which the effect is largest", (row) => best(row)?.lag,
      (row) => signed(best(row)?.lag ?? NaN, 0), "low"),
    number("base", "Untrained",
      "The best cell of the same network before training: F1, or rank correlation where the label is graded",
        (row) => row.baseline?.[graded(row) ? "spearman" : "f1"]),
    {
      id: "probe", title: "Probe", hint: "Held-out F1 of a sparse linear probe, and how many cells it uses",
        number: true, best: "high",
      value: (row) => row.probe?.f1,
        cell: (row) => (row.probe ? [fixed(row.probe.f1, 3), h("small", {}, ` / ${whole(row.probe.cells)}`)]
          : "\u2013"),
    },
    number("base_rate", "Share", "Share of the text on which the label is on", (row) => row.base_rate,
      (row) => percent(row.base_rate)),
  ];
}

function exported(hunt) {
  const head = ["hypothesis", "verdict", "cell", "layer", "name", "unit", "sign", "f1", "auc", "auc_low", "auc_high",
    "spearman", "p", "stratified_auc", "mutual_information", "lag", "p_holm", "baseline_f1", "baseline_spearman",
      "probe_f1"];
  const rows = Object.values(hunt.findings).flatMap((finding) => finding.cells.map((cell) => [
    finding.hypothesis, finding.verdict, cell.cell, cell.layer, cell.name, cell.unit, cell.sign, cell.f1, cell.auc,
      ...(cell.auc_interval ?? [null, null]),
    cell.spearman, cell.p, cell.stratified_auc, cell.mutual_information, cell.lag, finding.p_holm, finding.baseline?.f1,
      finding.baseline?.spearman, finding.probe?.f1,
  ]));
  saveCsv([head, ...rows], fileName("hunt"));
}

export async function open(context) {
  const { corpus } = context;
  const controller = new AbortController();
  let known = await corpus.hypotheses();
  let hunt = context.hunts.get(corpus.id) ?? null;
  let asked = "";
  const progress = h("div", {});
  const results = h("div", { class: "analysis" });
  const detail = h("div", {});
  const form = huntForm(known, (plan) => context.go({ hunt: plan, hyp: null }));

  async function run(plan) {
    const request = readPlan(plan, known);
    if (!request) return;
    form.busy(true);
    const found = await watched(progress, "Hunting", path`recordings/${corpus.id}/hunt`, request, controller.signal);
    form.busy(false);
    if (controller.signal.aborted) return;
    if (!found) {
      asked = "";
      context.go({ hunt: null }, { replace: true });
      return;
    }
    hunt = found;
    context.hunts.set(corpus.id, found);
    known = await corpus.hypotheses().catch(() => known);
    context.announce(`Hunt done: ${Object.keys(found.findings).length} hypotheses`);
    form.element.open = false;
    draw(context.view);
  }

  function draw(view) {
    if (!hunt) {
      show(results, h("p", { class: "lead" }, "Nothing has been hunted for on this recording yet. "
        + "Cells are chosen on the first half of the text and judged on the second."));
      show(detail);
      return;
    }
    const rows = Object.values(hunt.findings);
    const found = rows.filter((row) => row.verdict === "found").length;
    show(
      results,
      h("div", { class: "bar-of" },
        h("p", { class: "note" }, `${whole(rows.length)} hypotheses against ${whole(hunt.cells)} cells over `
          + `${whole(hunt.length)} tokens; a cell was found for ${whole(found)}. `
          + "Chosen on the first half, judged on the second."),
        h("button", { type: "button", class: "quiet small", onclick: () => exported(hunt) }, "CSV")),
      table(columns(context, known).filter((each) => each.id !== "probe" || rows.some((row) => row.probe)), rows, {
        caption: "Hypotheses and their best cells", sort: view.sort ?? "verdict",
        onSort: (sort) => context.go({ sort }, { replace: true }),
        rowClass: (row) =>
          [row.verdict === "none" ? "dim" : "", row.hypothesis === view.hyp ? "chosen" : ""].join(" ").trim() || null,
      }),
    );
    const chosen = hunt.findings[view.hyp];
    show(detail, chosen && candidates(context, chosen, under(chosen, known)));
  }

  return {
    element: h("div", { class: "page wide" }, h("h1", {}, "Hypotheses"), form.element, progress, results, detail),
    update(view) {
      draw(view);
      if (view.hunt && view.hunt !== asked) {
        asked = view.hunt;
        form.set(view.hunt);
        run(view.hunt);
      } else if (!view.hunt && hunt) form.element.open = false;
    },
    close: () => controller.abort(),
  };
}
