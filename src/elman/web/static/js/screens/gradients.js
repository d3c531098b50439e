// Gradients: how much of the loss's gradient is left so many steps back; several runs in one figure.

import { curves } from "../charts/kinds.js";
import { figure } from "../charts/figure.js";
import { fileName } from "../charts/save.js";
import { GROUPS } from "../core/colour.js";
import { h, show } from "../core/dom.js";
import { fixed, whole } from "../core/format.js";
import { theme } from "../core/theme.js";
import { analysed } from "./analysis.js";

function superscript(power) {
  return String(power).replace("-", "\u207b").replace(/\d/g,
    (digit) => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[digit]);
}

/** One line a run, layer and state: the norm at each lag as a power of ten, as a share of that at lag 1. */
function flows(results) {
  const several = results.length > 1;
  return results.flatMap(({ run, result }, place) =>
    result.states.map((state, k) => {
      const at = state.log10_mean[1] ?? 0;
      const shifted = (values) => values.map((value) => (value === null ? NaN : value - at));
      const [low, high] = state.log10_quartiles.map(shifted);
      return {
        name: `${several ? `${run.name}, ` : ""}layer ${state.layer} ${state.state}`,
        group: several ? place : k,
        dash: several && k ? `${2 + 2 * k} 3` : undefined,
        points: shifted(state.log10_mean).map((value, lag) => [lag, value, low[lag], high[lag]]).slice(1),
        state,
      };
    }));
}

function flowFigure(results) {
  const lines = flows(results);
  const low = Math.min(...lines.flatMap((line) => line.points.map(([, value]) => value)).filter(Number.isFinite), -1);
  const high = Math.max(...lines.flatMap((line) => line.points.map(([, value]) => value)).filter(Number.isFinite), 0);
  const lags = Math.max(...results.map(({ result }) => result.lags));
  return figure(
    (width) => curves(width, lines.map((line) => ({ ...line, colour: GROUPS[theme()][line.group % 8] })), {
      title: "Gradient by lag", height: 340,
      x: { range: [1, lags], label: "steps back" },
      y: { range: [Math.max(low, -24) - 0.3, high + 0.3], label: "norm, as a share of lag 1",
        format: (value) => `10${superscript(value)}` },
    }),
    {
      title: "Gradient by lag", name: fileName("gradients", ...results.map(({ run }) => run.name)), large: true,
      note: "Norm of the loss's gradient with respect to the state so many steps back: geometric mean over "
        + "places of the text; band: quartiles.",
    },
  );
}

function singularFigure(results) {
  const lines = results.flatMap(({ run, result }) => result.matrices.map((matrix) => ({
    name: `${results.length > 1 ? `${run.name}, ` : ""}layer ${matrix.layer} ${matrix.name}`,
    points: matrix.singular_values.map((value, k) => [k + 1, value]),
  })));
  if (!lines.length) return null;
  const most = Math.max(...lines.map((line) => line.points[0][1]));
  return figure(
    (width) => curves(width,
      lines.map((line, k) => ({ ...line, colour: GROUPS[theme()][k % 8], dash: k >= 8 ? "4 3" : undefined })), {
      title: "Singular values", height: 260,
      x: { range: [1, Math.max(...lines.map((line) => line.points.length))], label: "rank" },
      y: { range: [0, most * 1.04], label: "singular value" },
    }),
    { title: "Singular values of the recurrent matrices",
      name: fileName("singular-values", ...results.map(({ run }) => run.name)), large: true },
  );
}

function statesTable(results) {
  const rows = results.flatMap(({ run, result }) => result.states.map((state) => ({ run, state })));
  return h(
    "div",
    { class: "table-host", tabindex: "0", role: "region", "aria-label": "Gradient of every state" },
    h("table", {},
      h("thead", {}, h("tr", {}, ["Run", "State"].map((name) => h("th", { scope: "col" }, name)),
        ["Times a step", "Halves in", "Left", "At lag"].map((name) => h("th", { scope: "col", class: "number" }, name)),
          h("th", { scope: "col" }, "Verdict"))),
      h("tbody", {}, rows.map(({ run, state }) => h("tr", {},
        h("th", { scope: "row" }, run.name), h("td", {}, `layer ${state.layer} ${state.state}`),
        h("td", { class: "number" }, fixed(state.factor, 4)),
          h("td", { class: "number" }, state.half_life === null ? "\u2013" : `${fixed(state.half_life, 1)} steps`),
        h("td", { class: "number" }, state.left.share === null ? "\u2013"
          : state.left.share.toExponential(1).replace("-", "\u2212")),
            h("td", { class: "number" }, whole(state.left.lag)),
        h("td", {}, h("span", { class: `verdict ${state.verdict === "is carried" ? "found" : "weak"}` },
          state.verdict)))))),
  );
}

export function open(context) {
  const { run } = context;
  const controller = new AbortController();
  const progress = h("div", {});
  const body = h("div", { class: "analysis" });
  const others = context.runs.filter((each) => !each.error && each.system === run.system && each.id !== run.id);
  const boxes = others.map((each) => [each, h("input", { type: "checkbox", onchange: () => remember() })]);
  let shown = "";

  function remember() {
    context.go({ with: boxes.filter(([, box]) => box.checked).map(([each]) => each.id).join(",") }, { replace: true });
  }

  async function draw(ids) {
    const results = [];
    for (const id of ids) {
      const each = context.runs.find((known) => known.id === id);
      const result = each
        && (await analysed(progress, id, "gradients", `Gradients of ${each.name}`, {}, controller.signal));
      if (controller.signal.aborted) return;
      if (result) results.push({ run: each, result });
    }
    if (!results.length) {
      shown = "";
      return;
    }
    show(body, flowFigure(results), statesTable(results), singularFigure(results));
    context.announce("Gradients: done");
  }

  const button = h("button",
    { type: "button", class: "primary", onclick: () => context.go({ done: 1 }, { replace: true }) },
      "Measure the gradients");
  return {
    element: h(
      "div",
      { class: "page" },
      h("h1", {}, "Gradients"),
      h("p", { class: "lead" },
        "What a token far back can still teach: the gradient of the loss at one step with respect to the states "
          + "before it, lag by lag. Where it vanishes, nothing is learnt from there."),
      h("div", { class: "row-of" }, button,
        boxes.length > 0
          && h("fieldset", { class: "checks" }, h("legend", { class: "visually-hidden" }, "Beside"),
            h("span", { class: "quiet-text" }, "beside"), boxes.map(([each, box]) => h("label", {}, box, each.name)))),
      progress,
      body,
    ),
    update(view) {
      const beside = (view.with ?? "").split(",").filter(Boolean);
      for (const [each, box] of boxes) box.checked = beside.includes(each.id);
      const ids = [run.id, ...beside];
      const key = ids.join(" ");
      if (view.done && key !== shown) {
        shown = key;
        draw(ids);
      }
    },
    close: () => controller.abort(),
  };
}
