// A coloured text as one SVG, for export.

import { s } from "../core/dom.js";
import { token } from "../core/theme.js";
import { NEWLINE, advance, shape } from "./model.js";

const CELL = 8;
const LINE = 20;
const MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace";

/** Positions `first` up to `last` of a text, coloured by a field, as an SVG element with a title. */
export function coloured(corpus, field, first, last, columns, title) {
  const { model } = corpus;
  const starts = model.lines(columns);
  const rows = [];
  for (let line = 0; line < starts.length - 1; line += 1) {
    if (starts[line] >= first && starts[line] < last) rows.push(line);
  }
  const width = columns * CELL + 24;
  const height = rows.length * LINE + 44;
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  svg.append(s("text",
    { x: 12, y: 20, "font-family": "system-ui, sans-serif", "font-size": 13, "font-weight": 600, fill: token("--ink") },
      title));
  rows.forEach((line, row) => {
    let column = 0;
    const y = 32 + row * LINE;
    for (let at = starts[line]; at < starts[line + 1]; at += 1) {
      const code = model.codes[at];
      const wide = code === NEWLINE ? 1 : advance(code, column);
      const t = corpus.token(at);
      const level = t >= 0 ? field.values[t] + field.shift : null;
      const x = 12 + column * CELL;
      if (level !== null) svg.append(
        s("rect", { x, y, width: wide * CELL, height: LINE, fill: field.palette.css[level] }));
      if (code !== NEWLINE && code !== 9 && code !== 32) {
        const fill = level === null ? token("--ink") : field.palette.white[level] ? "#ffffff" : "#000000";
        svg.append(s("text", { x, y: y + 14.5, "font-family": MONO, "font-size": 13, fill }, shape(code)));
      }
      column += wide;
    }
  });
  return svg;
}
