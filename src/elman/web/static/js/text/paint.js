// The colour layer: every visible cell of the grid is one pixel of a small picture, which is stretched in one go.

import { NEWLINE, advance } from "./model.js";

/**
 * What colours a text.
 *
 * A field is {values, palette, shift}: the value of token t plus shift is the level in the palette's 256 colours.
 */
export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.small = document.createElement("canvas");
    this.pen = this.small.getContext("2d", { willReadFrequently: true });
    this.picture = null;
  }

  /** Sets the size of the canvas in CSS pixels. */
  resize(width, height) {
    this.ratio = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(height * this.ratio));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
  }

  _room(columns, rows) {
    if (!this.picture || this.picture.width !== columns || this.picture.height < rows) {
      this.small.width = columns;
      this.small.height = rows;
      this.picture = this.pen.createImageData(columns, rows);
      this.words = new Uint32Array(this.picture.data.buffer);
    }
    this.words.fill(0);
  }

  /**
   * Paints lines `first` up to `last` of a layout.
   *
   * `layout`: {model, starts, columns, cell, line, band, lane, tokenOf}; `scene`: {field, lanes, marks, brush, cursor,
   * ink}; `top`: scrolled distance in CSS pixels.
   */
  paint(layout, scene, first, last, top) {
    const { model, starts, cell, line } = layout;
    const columns = layout.columns + 1; // a newline may stand behind the last column
    const fields = [scene.field, ...scene.lanes];
    const tracks = fields.length;
    const rows = (last - first) * tracks;
    const { context, ratio } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (rows <= 0) return;
    this._room(columns, rows);
    for (let row = first; row < last; row += 1) {
      const base = (row - first) * tracks * columns;
      let column = 0;
      for (let at = starts[row]; at < starts[row + 1]; at += 1) {
        const code = model.codes[at];
        const width = code === NEWLINE ? 1 : advance(code, column);
        const token = layout.tokenOf ? layout.tokenOf[at] : at;
        for (let track = 0; track < tracks; track += 1) {
          const field = fields[track];
          if (!field || token < 0 || token >= field.values.length) continue;
          const colour = field.palette.packed[field.values[token] + field.shift];
          const from = base + track * columns + column;
          for (let k = 0; k < width && column + k < columns; k += 1) this.words[from + k] = colour;
        }
        column += width;
      }
    }
    this.pen.putImageData(this.picture, 0, 0);
    context.imageSmoothingEnabled = false;
    const wide = columns * cell * ratio;
    for (let row = first; row < last; row += 1) {
      for (let track = 0; track < tracks; track += 1) {
        if (!fields[track]) continue;
        const y = row * line - top + (track === 0 ? 0 : layout.band + 1 + (track - 1) * layout.lane);
        const tall = track === 0 ? layout.band : layout.lane - 1;
        const low = Math.round(y * ratio);
        const high = Math.round((y + tall) * ratio);
        context.drawImage(this.small, 0, (row - first) * tracks + track, columns, 1, 0, low, wide, high - low);
      }
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this._overlays(layout, scene, first, last, top);
  }

  _overlays(layout, scene, first, last, top) {
    const { model, starts, cell, line, band } = layout;
    const { context } = this;
    const { marks, brush, cursor } = scene;
    for (let row = first; row < last; row += 1) {
      const y = row * line - top;
      let column = 0;
      let runFrom = -1;
      let brushFrom = -1;
      let brushTo = -1;
      for (let at = starts[row]; at <= starts[row + 1]; at += 1) {
        const ended = at === starts[row + 1];
        const token = ended ? -1 : layout.tokenOf ? layout.tokenOf[at] : at;
        const on = !ended && marks && token >= 0 && marks[token] > 0;
        if (on && runFrom < 0) runFrom = column;
        if (!on && runFrom >= 0) {
          context.fillStyle = scene.ink;
          context.fillRect(runFrom * cell, y + band - 2, (column - runFrom) * cell, 2);
          runFrom = -1;
        }
        if (ended) break;
        const width = model.codes[at] === NEWLINE ? 1 : advance(model.codes[at], column);
        if (brush && at >= brush[0] && at < brush[1]) {
          if (brushFrom < 0) brushFrom = column;
          brushTo = column + width;
        }
        if (at === cursor) {
          context.strokeStyle = scene.ink;
          context.lineWidth = 2;
          context.strokeRect(column * cell + 1, y + 1, width * cell - 2, band - 2);
        }
        column += width;
      }
      if (brushFrom >= 0) {
        context.fillStyle = scene.brushFill;
        context.fillRect(brushFrom * cell, y, (brushTo - brushFrom) * cell, band);
        context.strokeStyle = scene.accent;
        context.lineWidth = 1.5;
        context.strokeRect(brushFrom * cell + 0.75, y + 0.75, (brushTo - brushFrom) * cell - 1.5, band - 1.5);
      }
    }
  }
}
