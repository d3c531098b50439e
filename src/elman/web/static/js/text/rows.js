// The text layer: one element a visible line, real text that can be selected and read aloud.

import { h } from "../core/dom.js";
import { NEWLINE, advance, isPlain, shape } from "./model.js";

function boxed(code, column) {
  const width = advance(code, column);
  return h("span", { class: `box w${Math.min(width, 4)}${isPlain(code) || code === 9 ? "" : " odd"}` }, shape(code));
}

/** Writes one line into its element: runs of one ink, boxes for what would leave the grid. */
function write(element, model, start, end, inkOf) {
  const parts = [];
  let run = [];
  let ink = 0;
  let column = 0;
  const flush = () => {
    if (!run.length) return;
    const text = String.fromCodePoint(...run);
    parts.push(ink === 0 ? document.createTextNode(text) : h("span", { class: ink === 1 ? "black" : "white" }, text));
    run = [];
  };
  for (let at = start; at < end; at += 1) {
    const code = model.codes[at];
    if (code === NEWLINE) {
      flush();
      parts.push(h("span", { class: inkOf && inkOf(at) === 2 ? "newline white" : "newline" }));
      break;
    }
    const wanted = inkOf ? inkOf(at) : 0;
    if (wanted !== ink) flush();
    ink = wanted;
    if (isPlain(code)) run.push(code);
    else {
      flush();
      const box = boxed(code, column);
      if (ink === 2) box.classList.add("white");
      parts.push(box);
    }
    column += advance(code, column);
  }
  flush();
  element.replaceChildren(...parts);
}

/** The elements of the visible lines, in reading order; those that stay visible are left alone. */
export class Rows {
  constructor(host) {
    this.host = host;
    this.byLine = new Map();
    this.version = 0;
  }

  /** All lines have to be written anew: other text, other width, other ink. */
  invalidate() {
    this.version += 1;
  }

  /**
   * Shows lines `first` up to `last` (excluded).
   *
   * `inkOf(position)` says 0 (the page's ink), 1 (black) or 2 (white), or is null.
   */
  update(model, starts, first, last, height, inkOf) {
    const free = [];
    for (const [line, element] of this.byLine) {
      if (line < first || line >= last) {
        free.push(element);
        this.byLine.delete(line);
      }
    }
    let next = this.host.firstChild;
    for (let line = first; line < last; line += 1) {
      let element = this.byLine.get(line);
      if (!element) {
        element = free.pop() ?? h("div", { class: "row" });
        element.version = -1;
        this.byLine.set(line, element);
      }
      if (element.version !== this.version) {
        write(element, model, starts[line], starts[line + 1], inkOf);
        element.style.top = `${line * height}px`;
        element.version = this.version;
      }
      if (element === next) next = next.nextSibling;
      else this.host.insertBefore(element, next);
    }
    for (const element of free) element.remove();
  }
}
