// The whole corpus in one strip: a column of pixels is a stretch of text, its values sorted from top to bottom.

import { eachFrame, h, settled } from "../core/dom.js";
import { onTheme, token } from "../core/theme.js";
import { whole } from "../core/format.js";

const HEIGHT = 56;
const MARK = 5; // height of the row that shows how much of a stretch carries the label

export class Strip {
  /** `onSeek(share)` is called with 0..1 of the text. */
  constructor(onSeek) {
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.window = h("div", { class: "strip-window" });
    this.element = h(
      "div",
      {
        class: "strip", role: "slider", tabindex: "0", "aria-label": "Place in the whole text",
        "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0",
      },
      this.canvas,
      this.window,
    );
    this.field = null;
    this.marks = null;
    this.share = [0, 0];
    this.width = 0;
    this.tell = settled((first, length) => {
      this.element.setAttribute("aria-valuenow", (100 * this.share[0]).toFixed(1));
      this.element.setAttribute("aria-valuetext", `position ${whole(first)} of ${whole(length)}`);
    }, 200);
    this.repaint = eachFrame(() => this.paint());
    const seek = (event) => {
      const box = this.element.getBoundingClientRect();
      onSeek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    };
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.element.addEventListener("pointermove", (event) => event.buttons & 1 && seek(event));
    this.element.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -0.01, ArrowRight: 0.01, PageUp: -0.1, PageDown: 0.1 }[event.key];
      const to = by ? this.share[0] + by : { Home: 0, End: 1 }[event.key];
      if (to === undefined) return;
      onSeek(Math.max(0, Math.min(1, to)));
      event.preventDefault();
      event.stopPropagation();
    });
    const observer = new ResizeObserver(() => {
      this.width = this.element.clientWidth;
      this.repaint();
    });
    observer.observe(this.element);
    this.stops = [onTheme(() => this.repaint()), () => observer.disconnect()];
  }

  close() {
    for (const stop of this.stops) stop();
  }

  /** The field that colours the text (see paint.js), and where a label is on (or null). */
  set(field, marks) {
    this.field = field;
    this.marks = marks;
    this.repaint();
  }

  /** Shows which part of the text is in view; shares of 0..1. */
  view(first, last, length) {
    this.share = [first / Math.max(1, length), last / Math.max(1, length)];
    const [from, to] = this.share;
    const size = Math.max(4, Math.round((to - from) * this.width));
    if (size !== this.size) this.window.style.width = `${size}px`;
    this.size = size;
    // a transform moves it without a layout of the page
    this.window.style.transform = `translateX(${Math.min(from * this.width, this.width - size).toFixed(1)}px)`;
    this.tell(first, length);
  }

  paint() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.element.clientWidth * ratio);
    const height = Math.round(HEIGHT * ratio);
    if (!width || !this.field) return;
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    const words = new Uint32Array(picture.data.buffer);
    const { values, palette, shift } = this.field;
    const tall = this.marks ? height - Math.round((MARK + 2) * ratio) : height;
    const counts = new Uint32Array(256);
    for (let x = 0; x < width; x += 1) {
      const from = Math.floor((x * values.length) / width);
      const to = Math.max(from + 1, Math.floor(((x + 1) * values.length) / width));
      counts.fill(0);
      for (let t = from; t < to; t += 1) counts[values[t] + shift] += 1;
      let level = 255;
      let seen = counts[255];
      for (let y = 0; y < tall; y += 1) {
        const wanted = ((y + 0.5) / tall) * (to - from);
        while (seen < wanted && level > 0) {
          level -= 1;
          seen += counts[level];
        }
        words[y * width + x] = palette.packed[level];
      }
    }
    context.putImageData(picture, 0, 0);
    if (this.marks) this._labels(context, width, height, ratio);
  }

  _labels(context, width, height, ratio) {
    const { marks } = this;
    context.fillStyle = token("--ink");
    for (let x = 0; x < width; x += 1) {
      const from = Math.floor((x * marks.length) / width);
      const to = Math.max(from + 1, Math.floor(((x + 1) * marks.length) / width));
      let on = 0;
      for (let t = from; t < to; t += 1) on += marks[t] > 0 ? 1 : 0;
      context.globalAlpha = Math.min(1, (1.5 * on) / (to - from));
      if (on) context.fillRect(x, height - Math.round(MARK * ratio), 1, Math.round(MARK * ratio));
    }
    context.globalAlpha = 1;
  }
}

/** The strip of a reader: where it is clicked the reader goes, and `seen` hears of the token there. */
export function stripOf(reader, corpus, seen) {
  return new Strip((share) => {
    const position = Math.min(corpus.model.length - 1, Math.floor(share * corpus.model.length));
    reader.set({ cursor: position });
    reader.reveal(position);
    seen(corpus.token(position));
  });
}
