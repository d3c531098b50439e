// The reader: a text of any length, coloured; only the visible lines exist.

import { eachFrame, h } from "../core/dom.js";
import { onTheme, token } from "../core/theme.js";
import { columnAt, lineAt, positionAt } from "./model.js";
import { Painter } from "./paint.js";
import { Rows } from "./rows.js";

const BAND = 20; // height of a line's coloured band
const LANE = 7; // height of a pinned cell's row, its gap included
const SIDE = 12; // room left and right of the text

/** A text in a scrolling box. */
export class Reader {
  /**
   * `options`: {label, onHover(position|null, rectangle), onCursor(position), onBrush(begin, end)|null,
   * onScroll(first, last)}; positions are code points.
   */
  constructor(options) {
    this.options = options;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.rowsHost = h("div", { class: "rows" });
    this.stage = h("div", { class: "stage" }, this.canvas, this.rowsHost);
    this.spacer = h("div", { class: "spacer" }, this.stage);
    this.element = h(
      "div",
      { class: "reader", tabindex: "0", role: "document", "aria-label": options.label,
        "aria-roledescription": "coloured text" },
      this.spacer,
    );
    this.painter = new Painter(this.canvas);
    this.rows = new Rows(this.rowsHost);
    this.model = null;
    this.starts = new Uint32Array([0, 0]);
    this.tokenOf = null;
    this.scene = { field: null, lanes: [], marks: null, brush: null, cursor: -1 };
    this.repaint = eachFrame(() => this.paint());
    this._colours();
    this._listen();
    this.stops = [onTheme(() => this._colours())];
    const observer = new ResizeObserver(() => this.resize());
    observer.observe(this.element);
    this.stops.push(() => observer.disconnect());
  }

  close() {
    for (const stop of this.stops) stop();
  }

  _colours() {
    this.scene.ink = token("--ink");
    this.scene.accent = token("--accent");
    this.scene.brushFill = token("--brush");
    this.rows.invalidate();
    this.repaint();
  }

  /** Shows another text; `tokenOf` gives each position's token, or is null where they are the same. */
  setText(model, tokenOf) {
    this.model = model;
    this.tokenOf = tokenOf;
    this.columns = 0;
    this.resize();
  }

  /** Changes what colours the text: any of field, lanes, marks, brush, cursor. */
  set(changes) {
    const lanes = this.scene.lanes.length;
    Object.assign(this.scene, changes);
    if ("field" in changes) this.rows.invalidate();
    if (changes.lanes && changes.lanes.length !== lanes) this._measure(true);
    this.repaint();
  }

  get lineHeight() {
    return BAND + 2 + (this.scene.lanes.length ? this.scene.lanes.length * LANE + 3 : 0);
  }

  _cell() {
    const probe = h("span", { class: "probe" }, "0".repeat(100));
    this.rowsHost.append(probe);
    const natural = probe.getBoundingClientRect().width / 100;
    probe.remove();
    // whole pixels keep the coloured cells crisp and the text on them
    const cell = Math.max(6, Math.round(natural + 0.1));
    this.rowsHost.style.letterSpacing = `${cell - natural}px`;
    this.rowsHost.style.setProperty("--cell", `${cell}px`);
    return cell;
  }

  resize() {
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    if (!this.model || !width || !height) return;
    this.rowsHost.style.letterSpacing = "0px";
    this.cell = this._cell();
    this.stage.style.height = `${height}px`;
    this.painter.resize(width - SIDE, height);
    const columns = Math.max(16, Math.floor((width - 2 * SIDE) / this.cell) - 1);
    const again = columns !== this.columns;
    this.columns = columns;
    this._measure(again);
    this.rows.invalidate();
    this.paint();
  }

  _measure(relayout) {
    if (!this.model || !this.cell) return;
    if (relayout) {
      const anchor = this.scene.cursor >= 0 && this.isVisible(this.scene.cursor) ? this.scene.cursor
        : this.starts[this.firstLine()];
      const share = this.isVisible(anchor)
        ? lineAt(this.starts, anchor) * (this.height ?? this.lineHeight) - this.element.scrollTop : 0;
      this.starts = this.model.lines(this.columns);
      this.height = this.lineHeight;
      this.spacer.style.height = `${Math.max((this.starts.length - 1) * this.height + 8, this.element.clientHeight)}px`;
      if (anchor) this.element.scrollTop = lineAt(this.starts, anchor) * this.height - share;
      this.rows.invalidate();
    }
  }

  firstLine() {
    return Math.max(0, Math.floor(this.element.scrollTop / (this.height ?? this.lineHeight)));
  }

  lastLine() {
    return Math.min(this.starts.length - 1,
      Math.ceil((this.element.scrollTop + this.element.clientHeight) / this.height));
  }

  /** The positions now in view, [first, last). */
  visibleRange() {
    return [this.starts[this.firstLine()] ?? 0, this.starts[this.lastLine()] ?? 0];
  }

  isVisible(position) {
    const line = lineAt(this.starts, position);
    const y = line * (this.height ?? this.lineHeight) - this.element.scrollTop;
    return y >= 0 && y + BAND <= this.element.clientHeight;
  }

  /** Scrolls so that a position is seen, in the middle where it was not. */
  reveal(position) {
    if (!this.model || !this.height || this.isVisible(position)) return;
    this.element.scrollTop = lineAt(this.starts, position) * this.height - this.element.clientHeight / 2;
  }

  paint() {
    if (!this.model || !this.cell) return;
    const top = this.element.scrollTop;
    const first = this.firstLine();
    const last = this.lastLine();
    const { model, starts, columns, cell, tokenOf } = this;
    const layout = { model, starts, columns, cell, tokenOf, line: this.height, band: BAND, lane: LANE };
    this.painter.paint(layout, this.scene, first, last, top);
    const field = this.scene.field;
    const inkOf = field && ((at) => {
      const token_ = tokenOf ? tokenOf[at] : at;
      if (token_ < 0 || token_ >= field.values.length) return 0;
      return field.palette.white[field.values[token_] + field.shift] ? 2 : 1;
    });
    this.rows.update(model, starts, first, last, this.height, inkOf);
    this.rowsHost.style.transform = `translateY(${-top}px)`;
    this.options.onScroll?.(starts[first], starts[last]);
  }

  /** The rectangle of a position on the page. */
  rectangle(position) {
    const line = lineAt(this.starts, position);
    const box = this.stage.getBoundingClientRect();
    const column = columnAt(this.model.codes, this.starts[line], position);
    const left = box.left + SIDE + column * this.cell;
    const top = box.top + line * this.height - this.element.scrollTop;
    return { left, top, right: left + this.cell, bottom: top + BAND, width: this.cell, height: BAND };
  }

  /** The position under a point of the page, or null beyond the text. */
  at(x, y) {
    if (!this.model) return null;
    const box = this.stage.getBoundingClientRect();
    const line = Math.floor((y - box.top + this.element.scrollTop) / this.height);
    const column = Math.floor((x - box.left - SIDE) / this.cell);
    if (line < 0 || line >= this.starts.length - 1) return null;
    return positionAt(this.model.codes, this.starts[line], this.starts[line + 1], Math.max(0, column));
  }

  _listen() {
    const { element, options } = this;
    element.addEventListener("scroll", this.repaint, { passive: true });
    const hover = eachFrame((x, y) => {
      const position = this.at(x, y);
      options.onHover?.(position, position === null ? null : this.rectangle(position));
    });
    let anchor = null;
    element.addEventListener("pointermove", (event) => {
      hover(event.clientX, event.clientY);
      if (anchor !== null && options.onBrush && event.buttons & 1) {
        const to = this.at(event.clientX, event.clientY);
        if (to !== null && to !== anchor) this.set({ brush: ordered(anchor, to) });
      }
    });
    element.addEventListener("pointerleave", () => options.onHover?.(null, null));
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.clientX > element.getBoundingClientRect().left + element.clientWidth) return;
      anchor = this.at(event.clientX, event.clientY);
    });
    element.addEventListener("pointerup", (event) => {
      if (anchor === null) return;
      const to = this.at(event.clientX, event.clientY) ?? anchor;
      const from = anchor;
      anchor = null;
      this.set({ cursor: to });
      options.onCursor?.(to);
      if (options.onBrush && from !== to) {
        const [begin, end] = ordered(from, to);
        this.set({ brush: [begin, end] });
        options.onBrush(begin, end);
      }
    });
    element.addEventListener("pointercancel", () => (anchor = null));
    element.addEventListener("keydown", (event) => this._key(event));
    element.addEventListener("copy", (event) => {
      const { brush } = this.scene;
      if (!brush || !this.model) return;
      event.clipboardData.setData("text/plain", this.model.slice(brush[0], brush[1]));
      event.preventDefault();
    });
  }

  _key(event) {
    if (!this.model || event.altKey || event.metaKey) return;
    const { starts, model } = this;
    const from = Math.max(0, this.scene.cursor >= 0 ? this.scene.cursor : starts[this.firstLine()]);
    const line = lineAt(starts, from);
    const vertical = (by) => {
      const to = Math.max(0, Math.min(starts.length - 2, line + by));
      return positionAt(model.codes, starts[to], starts[to + 1], columnAt(model.codes, starts[line], from));
    };
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.height) - 2);
    const moves = {
      ArrowLeft: () => from - 1, ArrowRight: () => from + 1, ArrowUp: () => vertical(-1), ArrowDown: () => vertical(1),
      PageUp: () => vertical(-page), PageDown: () => vertical(page),
      Home: () => (event.ctrlKey ? 0 : starts[line]),
        End: () => (event.ctrlKey ? model.length - 1 : starts[line + 1] - 1),
    };
    if (event.key === "Escape" && this.scene.brush) {
      this.set({ brush: null });
      this.options.onBrush?.(0, 0);
    } else if (event.key in moves) {
      const to = Math.max(0, Math.min(model.length - 1, moves[event.key]()));
      if (event.shiftKey && this.options.onBrush) {
        this.anchor ??= from;
        const [begin, end] = ordered(this.anchor, to);
        this.set({ brush: [begin, end] });
        this.options.onBrush(begin, end);
      } else this.anchor = null;
      this.set({ cursor: to });
      this.reveal(to);
      this.options.onCursor?.(to);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function ordered(one, other) {
  return [Math.min(one, other), Math.max(one, other) + 1];
}
