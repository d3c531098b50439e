// Gates: how often each unit's gate is shut or open, the figure of Karpathy, Johnson and Fei-Fei 2015.

import { figure } from "../charts/figure.js";
import { legend, plot } from "../charts/plot.js";
import { fileName } from "../charts/save.js";
import { tipped } from "../charts/tooltip.js";
import { GROUPS } from "../core/colour.js";
import { h, s } from "../core/dom.js";
import { fixed, percent, whole } from "../core/format.js";
import { theme, token } from "../core/theme.js";
import { table } from "../shell/table.js";
import { analysisScreen } from "./analysis.js";

function scatter(width, name, gates) {
  const size = Math.min(width, 420);
  const layers = gates.length > 1;
  const chart = plot({
    width: size, height: size + (layers ? 18 : 0), title: `Saturation of gate ${name}`,
      margins: { top: layers ? 30 : 12, left: 50 },
    x: { range: [0, 1], label: "share of steps below 0.1", grid: true, ticks: [0, 0.25, 0.5, 0.75, 1] },
    y: { range: [0, 1], label: "share of steps above 0.9", ticks: [0, 0.25, 0.5, 0.75, 1] },
  });
  chart.area.append(s("line", {
    x1: chart.x(0), y1: chart.y(1), x2: chart.x(1), y2: chart.y(0), stroke: token("--axis"), "stroke-dasharray": "3 4",
  }));
  gates.forEach((gate) => {
    const colour = GROUPS[theme()][gate.layer % GROUPS.light.length];
    gate.left.forEach((left, unit) => {
      const dot = s("circle",
        { cx: chart.x(left), cy: chart.y(gate.right[unit]), r: 3, fill: colour, "fill-opacity": 0.55, stroke: colour,
          "stroke-width": 0.6 });
      chart.area.append(
        tipped(dot, () =>
          `layer ${gate.layer} ${name}[${unit}]: below 0.1 ${percent(left)}, above 0.9 ${percent(gate.right[unit])}`));
    });
  });
  if (layers) chart.svg.append(
    legend(gates.map((gate) => [`layer ${gate.layer}`, GROUPS[theme()][gate.layer % GROUPS.light.length]]),
      chart.inside.left, 10, size));
  return chart.svg;
}

function drawn(context, result) {
  const names = [...new Set(result.gates.map((gate) => gate.name))];
  return [
    h("p", { class: "note" },
      `${whole(result.tokens)} steps. A point is a unit: to the right it is mostly shut, at the top mostly `
        + `open, at the origin rarely saturated.`),
    h("div", { class: "small-multiples" }, names.map((name) => figure(
      (width) => scatter(width, name, result.gates.filter((gate) => gate.name === name)),
      { title: `Gate ${name}`, name: fileName(context.run.name, "gate", name), large: true },
    ))),
    table(
      [
        { id: "gate", title: "Gate", value: (row) => `${row.layer} ${row.name}`,
          cell: (row) => `layer ${row.layer} ${row.name}` },
        { id: "left", title: "Below 0.1", number: true, best: "high", value: (row) => row.mean_left,
          cell: (row) => fixed(row.mean_left, 3) },
        { id: "right", title: "Above 0.9", number: true, best: "high", value: (row) => row.mean_right,
          cell: (row) => fixed(row.mean_right, 3) },
        { id: "mostly_left", title: "Units mostly below", number: true, best: "high", value: (row) => row.mostly_left,
          cell: (row) => whole(row.mostly_left) },
        { id: "mostly_right", title: "Units mostly above", number: true, best: "high", value: (row) => row.mostly_right,
          cell: (row) => whole(row.mostly_right) },
      ],
      result.gates,
      { caption: "Saturation by gate" },
    ),
  ];
}

export function open(context) {
  return analysisScreen(context, {
    kind: "gates", title: "Gates", doing: "Reading with the gates open", button: "Measure the gates",
    lead: "A gate that is shut most of the time, or open most of the time, says what its unit is for: a forget "
      + "gate that never closes keeps its cell, an output gate that rarely opens hides it.",
    draw: (result) => drawn(context, result),
  });
}
