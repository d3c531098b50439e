// Axes, ticks and a frame in SVG. Every colour is an attribute, so that an exported figure looks as on the page.

import { s } from "../core/dom.js";
import { short } from "../core/format.js";
import { token } from "../core/theme.js";

const SANS = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif";

/** About `count` round numbers from low to high. */
export function ticks(low, high, count = 5) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(
    Number((k * step).toPrecision(12)));
  return found;
}

/** The powers of ten from low to high, with their halves where there are few. */
export function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    const value = 10 ** power;
    if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
  }
  const every = Math.ceil(found.length / 6);
  return found.filter((_, k) => k % every === 0);
}

function scaled({ range, log }, from, to) {
  const map = log ? Math.log10 : (value) => value;
  const low = map(range[0]);
  const high = map(range[1]);
  return (value) => from + ((map(value) - low) / (high - low || 1)) * (to - from);
}

/** A text of a figure. */
export function label(x, y, text, options = {}) {
  const { anchor = "middle", size = 11, colour = token("--quiet"), weight, baseline = "auto" } = options;
  return s("text", {
    x, y, "text-anchor": anchor, "font-size": size, fill: colour, "font-weight": weight, "font-family": SANS,
    "dominant-baseline": baseline, transform: options.transform,
  }, text);
}

/**
 * A frame with axes.
 *
 * `options`: {width, height, title (for screen readers), x: {range, label, log, ticks, format}, y: the same,
 * margins: {left, right, top, bottom}}. Returns {svg, x(value), y(value), area, inside}.
 */
export function plot({ width, height, title, x, y, margins = {} }) {
  const yTicks = y.ticks ?? (y.log ? logTicks(...y.range) : ticks(...y.range, Math.max(2, Math.floor(height / 60))));
  const longest = Math.max(1, ...yTicks.map((value) => (y.format ?? short)(value).length));
  const left = margins.left ?? (y.label ? 24 : 10) + 6.4 * longest + 6;
  const right = margins.right ?? 12;
  const top = margins.top ?? 10;
  const bottom = margins.bottom ?? (x.label ? 38 : 22);
  const inside = { left, right: width - right, top, bottom: height - bottom };
  const X = scaled(x, inside.left, inside.right);
  const Y = scaled(y, inside.bottom, inside.top);
  const line = token("--line");
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const xTicks = x.ticks
    ?? (x.log ? logTicks(...x.range) : ticks(...x.range, Math.max(2, Math.floor((width - left) / 90))));
  for (const value of yTicks) {
    svg.append(
      s("line", { x1: inside.left, x2: inside.right, y1: Y(value), y2: Y(value), stroke: line, "stroke-width": 1 }),
      label(inside.left - 7, Y(value), (y.format ?? short)(value), { anchor: "end", baseline: "middle" }),
    );
  }
  for (const value of xTicks) {
    svg.append(label(X(value), inside.bottom + 16, (x.format ?? short)(value)));
    if (x.grid) svg.append(s("line", { x1: X(value), x2: X(value), y1: inside.top, y2: inside.bottom, stroke: line }));
  }
  svg.append(s("line", {
    x1: inside.left, x2: inside.right, y1: inside.bottom, y2: inside.bottom, stroke: token("--axis"), "stroke-width": 1,
  }));
  if (x.label) svg.append(label((inside.left + inside.right) / 2, height - 5, x.label, { colour: token("--quiet") }));
  if (y.label) {
    const middle = (inside.top + inside.bottom) / 2;
    svg.append(label(12, middle, y.label, { transform: `rotate(-90 12 ${middle})` }));
  }
  // a picture within the picture, which cuts off what leaves the axes; a little more, so that points stay whole
  const corner = [inside.left - 7, inside.top - 7];
  const size = [Math.max(1, inside.right - inside.left + 14), Math.max(1, inside.bottom - inside.top + 14)];
  const area = s("svg", {
    x: corner[0], y: corner[1], width: size[0], height: size[1], viewBox: [...corner, ...size].join(" "),
  });
  svg.append(area);
  return { svg, x: X, y: Y, area, inside };
}

/** A path through points; a point without a number breaks it. */
export function pathOf(points) {
  let text = "";
  let pen = false;
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      pen = false;
      continue;
    }
    text += `${pen ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`;
    pen = true;
  }
  return text;
}

/** A line through points of [x, y] in pixels. */
export function line(points, colour, options = {}) {
  return s("path", {
    d: pathOf(points), fill: "none", stroke: colour, "stroke-width": options.width ?? 1.75,
      "stroke-dasharray": options.dash,
    "stroke-linejoin": "round", "stroke-linecap": "round",
  });
}

/** The area between two lines of one x each: [x, low, high] in pixels. */
export function band(points, colour) {
  const usable = points.filter((point) => point.every(Number.isFinite));
  if (!usable.length) return s("g", {});
  const there = usable.map(([x, low]) => `${x.toFixed(2)} ${low.toFixed(2)}`);
  const back = usable.map(([x, , high]) => `${x.toFixed(2)} ${high.toFixed(2)}`).reverse();
  return s("path", { d: `M${[...there, ...back].join("L")}Z`, fill: colour, "fill-opacity": 0.16, stroke: "none" });
}

/** The names of colours, in rows above a figure: [[name, colour, dash?], ...]. */
export function legend(entries, x, y, width) {
  const group = s("g", {});
  let at = x;
  let row = y;
  for (const [name, colour, dash] of entries) {
    const wide = 30 + name.length * 6.3;
    if (at + wide > width && at > x) {
      at = x;
      row += 17;
    }
    group.append(
      s("line", { x1: at, x2: at + 16, y1: row, y2: row, stroke: colour, "stroke-width": 2.5,
        "stroke-dasharray": dash }),
      label(at + 21, row, name, { anchor: "start", baseline: "middle", colour: token("--ink") }),
    );
    at += wide;
  }
  return group;
}
