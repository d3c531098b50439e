// The figures that several screens draw: histogram, curve, bars.

import { h, s } from "../core/dom.js";
import { fixed, short, visible, whole } from "../core/format.js";
import { diverging, levelOf } from "../core/colour.js";
import { theme, token } from "../core/theme.js";
import { band, label, legend, line, plot } from "./plot.js";
import { tipped } from "./tooltip.js";

function binned(histogram, bins) {
  const width = 256 / bins;
  return Array.from({ length: bins }, (_, k) => {
    let sum = 0;
    for (let level = k * width; level < (k + 1) * width; level += 1) sum += histogram[level];
    return sum;
  });
}

/**
 * Values of a cell as a histogram, of all positions or apart where a label is on and off.
 *
 * `parts`: [{name, histogram (256 counts), filled, colour}], each drawn as a share of its own total.
 */
export function histogram(width, parts, threshold, height = 150) {
  const bins = 64;
  const shares = parts.map((part) => {
    const counts = binned(part.histogram, bins);
    const total = counts.reduce((sum, count) => sum + count, 0) || 1;
    return counts.map((count) => count / total);
  });
  const most = Math.max(...shares.flat(), 1e-9);
  const chart = plot({
    width, height: height + (parts.length > 1 ? 16 : 0), title: "Histogram of the values",
      margins: { left: 10, right: 10, top: parts.length > 1 ? 26 : 10 },
    x: { range: [-1, 1], ticks: [-1, -0.5, 0, 0.5, 1], label: "value" }, y: { range: [0, most * 1.05], ticks: [] },
  });
  const palette = diverging(theme());
  const edge = (k) => chart.x(-1 + (2 * k) / bins);
  parts.forEach((part, which) => {
    if (part.filled) {
      shares[which].forEach((share, k) => {
        if (!share) return;
        const middle = -1 + (2 * (k + 0.5)) / bins;
        chart.area.append(s("rect", {
          x: edge(k), width: Math.max(0.5, edge(k + 1) - edge(k) - 0.5), y: chart.y(share),
            height: chart.y(0) - chart.y(share),
          fill: part.colour ?? palette.css[levelOf(middle)], stroke: part.colour ? "none" : token("--axis"),
            "stroke-width": 0.4,
        }));
      });
    } else {
      const points = shares[which].flatMap((share, k) => [[edge(k), chart.y(share)], [edge(k + 1), chart.y(share)]]);
      chart.area.append(line(points, part.colour, { width: 1.75 }));
    }
  });
  if (Number.isFinite(threshold)) {
    const x = chart.x(threshold);
    chart.area.append(
      s("line", { x1: x, x2: x, y1: chart.inside.top, y2: chart.inside.bottom, stroke: token("--ink"),
        "stroke-dasharray": "3 3" }));
  }
  if (parts.length > 1) chart.svg.append(legend(parts.map((part) => [part.name, part.colour]), 10, 10, width));
  return chart.svg;
}

/**
 * Curves over one axis.
 *
 * `series`: [{name, colour, points: [[x, y, low?, high?]], dash}]; `options`: {title, x, y (as in plot), height, zero
 * (a vertical line there), legend: false leaves the names out}.
 */
export function curves(width, series, options) {
  const names = options.legend !== false && series.length > 1;
  const perRow = Math.max(1, Math.floor(width / 150));
  const rows = names ? Math.ceil(series.length / perRow) : 0;
  const chart = plot({
    width, height: (options.height ?? 190) + 17 * rows, title: options.title, x: options.x, y: options.y,
    margins: { top: 12 + 17 * rows, ...options.margins },
  });
  if (options.zero !== undefined) {
    const x = chart.x(options.zero);
    chart.area.append(
      s("line", { x1: x, x2: x, y1: chart.inside.top, y2: chart.inside.bottom, stroke: token("--axis"),
        "stroke-dasharray": "2 3" }));
  }
  for (const each of series) {
    const inside = each.points.filter(([x, y]) => (!options.x.log || x > 0) && (!options.y.log || y > 0));
    if (inside.some((point) => point.length > 2)) {
      chart.area.append(band(inside.map(([x, , low, high]) => [chart.x(x), chart.y(low), chart.y(high)]), each.colour));
    }
    chart.area.append(line(inside.map(([x, y]) => [chart.x(x), chart.y(y)]), each.colour, { dash: each.dash }));
    if (each.dots) {
      for (const [x, y] of inside) {
        const dot = s("circle", { cx: chart.x(x), cy: chart.y(y), r: 3.5, fill: each.colour });
        chart.area.append(tipped(dot, () => `${each.name}: ${short(x)}, ${fixed(y, 3)}`));
      }
    }
  }
  if (names) chart.svg.append(
    legend(series.map((each) => [each.name, each.colour, each.dash]), chart.inside.left, 8, width));
  return chart.svg;
}

/**
 * Horizontal bars with their names.
 *
 * `rows`: [{name, value, low?, high?, colour, note}]; `options`: {title, format, range, left}.
 */
export function bars(width, rows, options) {
  const tall = options.tall ?? 22;
  const values = rows.flatMap((row) => [row.value, row.low, row.high]).filter(Number.isFinite);
  const range = options.range ?? [Math.min(0, ...values), Math.max(0, ...values) * 1.02 || 1];
  const left = options.left ?? Math.min(width * 0.45, 16 + 6.6 * Math.max(4, ...rows.map((row) => row.name.length)));
  const chart = plot({
    width, height: rows.length * tall + 34 + (options.label ? 14 : 0), title: options.title,
      margins: { left, right: options.right ?? 58, top: 4 },
    x: { range, label: options.label, grid: true, format: options.axis }, y: { range: [rows.length, 0], ticks: [] },
  });
  rows.forEach((row, k) => {
    const y = chart.inside.top + k * tall + 3;
    const x = [chart.x(Math.min(0, row.value)), chart.x(Math.max(0, row.value))];
    const bar = s("rect",
      { x: x[0], width: Math.max(0.5, x[1] - x[0]), y, height: tall - 6, fill: row.colour ?? token("--accent"),
        rx: 1.5 });
    chart.area.append(row.note ? tipped(bar, () => row.note) : bar);
    if (Number.isFinite(row.low) && Number.isFinite(row.high)) {
      const middle = y + (tall - 6) / 2;
      chart.area.append(
        s("line", { x1: chart.x(row.low), x2: chart.x(row.high), y1: middle, y2: middle, stroke: token("--ink"),
          "stroke-width": 1.5 }));
    }
    const name = row.name.length * 6.6 > left ? `${row.name.slice(0, Math.floor(left / 6.6) - 1)}\u2026` : row.name;
    const furthest = chart.x(Math.max(0, row.value, Number.isFinite(row.high) ? row.high : 0));
    chart.svg.append(
      label(left - 8, y + (tall - 6) / 2, name, { anchor: "end", baseline: "central", colour: token("--ink") }),
      label(furthest + 6, y + (tall - 6) / 2, (options.format ?? fixed)(row.value),
        { anchor: "start", baseline: "central" }),
    );
  });
  return chart.svg;
}

/** The five likeliest symbols as a small list with bars. */
export function likeliest(entries, actual) {
  return h(
    "ol",
    { class: "likeliest" },
    entries.map(([symbol, probability]) => {
      const bar = h("i", { class: "bar" });
      bar.style.width = `${Math.max(1, 100 * probability).toFixed(1)}%`;
      return h(
        "li",
        { class: symbol === actual ? "actual" : null },
        h("b", {}, visible(symbol)),
        h("span", { class: "track" }, bar),
        h("span", { class: "number" }, fixed(probability, 3)),
      );
    }),
  );
}

/** A count with its noun. */
export function counted(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
