// What a lesion costs: where the label is on and off, beside matched random cells, by dose, and around onsets.

import { curves } from "../charts/kinds.js";
import { figure } from "../charts/figure.js";
import { label, plot } from "../charts/plot.js";
import { fileName } from "../charts/save.js";
import { tipped } from "../charts/tooltip.js";
import { GROUPS } from "../core/colour.js";
import { h, s } from "../core/dom.js";
import { fixed, probability, short, signed, whole } from "../core/format.js";
import { theme, token } from "../core/theme.js";

function within(estimate) {
  return `${signed(estimate.low, 3)} to ${signed(estimate.high, 3)}`;
}

function numbers(result) {
  const share = result.tokens ? result.on_tokens / result.tokens : NaN;
  return h("dl", { class: "effect" }, [
    ["cost where the label is on", signed(result.on.value, 3), within(result.on)],
    ["cost where it is off", signed(result.off.value, 3), within(result.off)],
    ["difference", signed(result.difference.value, 3), within(result.difference)],
    ["p beside random cells", probability(result.p), `${whole(result.controls.length)} controls`],
    ["places", whole(result.on_tokens), `${fixed(100 * share, 1)} % of ${whole(result.tokens)}`],
  ].map(([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, note)))));
}

/** On and off as two rows of points: the lesion with its interval, the controls as open circles. */
function costs(width, result) {
  const values = [result.on,
    result.off].flatMap((each) => [each.low, each.high, each.value]).concat(
      result.controls.flatMap((each) => [each.on, each.off]));
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const room = (high - low || 1) * 0.06;
  const chart = plot({
    width, height: 190, title: "Cost of the lesion and of the controls", margins: { left: 86, right: 20 },
    x: { range: [low - room, high + room], label: "nats a token more than without the lesion", grid: true },
      y: { range: [2, 0], ticks: [] },
  });
  const colour = GROUPS[theme()][1];
  const zero = chart.x(0);
  chart.area.append(
    s("line", { x1: zero, x2: zero, y1: chart.inside.top, y2: chart.inside.bottom, stroke: token("--axis") }));
  [["label on", "on"], ["label off", "off"]].forEach(([name, side], row) => {
    const y = chart.y(row + 0.5);
    const own = result[side];
    chart.svg.append(
      label(chart.inside.left - 10, y, name, { anchor: "end", baseline: "central", colour: token("--ink") }));
    result.controls.forEach((control, k) => {
      const dot = s("circle",
        { cx: chart.x(control[side]), cy: y + 20 + ((k % 5) - 2) * 3, r: 3.2, fill: "none", stroke: token("--quiet"),
          "stroke-width": 1.2 });
      chart.area.append(
        tipped(dot, () =>
          `${control.cells.map(([layer, of, unit]) => `layer ${layer} ${of}[${unit}]`).join(", ")}: `
          + signed(control[side], 4)));
    });
    chart.area.append(
      s("line", { x1: chart.x(own.low), x2: chart.x(own.high), y1: y - 8, y2: y - 8, stroke: colour, "stroke-width": 3,
        "stroke-linecap": "round" }),
      tipped(s("circle", { cx: chart.x(own.value), cy: y - 8, r: 6, fill: colour }),
        () => `${name}: ${signed(own.value, 4)} (${within(own)})`),
    );
  });
  return chart.svg;
}

function doses(result) {
  const found = result.doses.filter((dose) => dose.strength > 0);
  if (found.length < 2) return null;
  const colours = GROUPS[theme()];
  const points = (side) => found.map((dose) => [dose.strength, dose[side].value, dose[side].low, dose[side].high]);
  const all = found.flatMap((dose) => [dose.on.low, dose.on.high, dose.off.low, dose.off.high]);
  return figure(
    (width) => curves(width, [
      { name: "label on", colour: colours[1], points: points("on"), dots: true },
      { name: "label off", colour: colours[6], points: points("off"), dots: true },
    ], {
      title: "Cost by strength", height: 200,
      x: { range: [found[0].strength, found.at(-1).strength], log: true, ticks: found.map((dose) => dose.strength),
        format: short, label: "strength" },
      y: { range: [Math.min(0, ...all), Math.max(...all, 1e-6)], label: "nats a token" },
    }),
    { title: "Dose and response", name: fileName("lesion-doses"), large: true,
      note: "A dose acts at every step: a cell that remembers by itself forgets at small ones already." },
  );
}

function around(result) {
  const { curve } = result;
  if (!curve || curve.lags.length < 3) return null;
  const colours = GROUPS[theme()];
  const controls = curve.controls.length === curve.lags.length;
  const all = [...curve.low, ...curve.high, ...(controls ? curve.controls : [])].filter(Number.isFinite);
  return figure(
    (width) => curves(width, [
      { name: "this lesion", colour: colours[1],
        points: curve.lags.map((lag, k) => [lag, curve.cost[k], curve.low[k], curve.high[k]]) },
      ...(controls ? [
        { name: "random cells, mean", colour: colours[6],
          points: curve.lags.map((lag, k) => [lag, curve.controls[k]]) }] : []),
    ], {
      title: "Cost by tokens since the onset", zero: 0, height: 200,
      x: { range: [curve.lags[0], curve.lags.at(-1)], label: "tokens since the label came on" },
      y: { range: [Math.min(0, ...all), Math.max(...all, 1e-6)], label: "nats a token" },
    }),
    { title: "Around an onset", name: fileName("lesion-onset"), large: true, note: "Band: 95 % interval." },
  );
}

/** The nodes of a measured lesion. */
export function lesionReport(corpus, result, title) {
  return [
    h("h2", {}, `${result.description ?? "The lesion"}, under \u201c${title}\u201d`),
    h("p", { class: "lead" }, result.sentence),
    numbers(result),
    figure((width) => costs(width, result), {
      title: "Cost beside random cells", name: fileName("lesion"), large: true,
      note: "Filled: this lesion with its 95 % interval; open circles: the same lesion of random cells of the "
        + "layer that are as active.",
    }),
    h("div", { class: "columns two" }, doses(result), around(result)),
  ];
}
