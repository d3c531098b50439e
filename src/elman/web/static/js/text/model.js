// A text as code points on a grid: how wide each is, which shape it shows, where its lines start.

import { isHidden } from "../core/format.js";

const TAB = 4;
export const NEWLINE = 10;

/** Code points whose glyph fills one cell in any monospaced font; the others are boxed one by one. */
export function isPlain(code) {
  return (
    (code >= 0x20 && code < 0x7f) || (code >= 0xa1 && code < 0x250 && code !== 0xad) ||
    (code >= 0x370 && code < 0x483) || (code >= 0x48a && code < 0x530) || (code >= 0x2010 && code < 0x2028)
  );
}

function isWide(code) {
  return (
    (code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0 && code !== 0x303f) ||
    (code >= 0xac00 && code < 0xd7a4) || (code >= 0xf900 && code < 0xfb00) || (code >= 0xfe30 && code < 0xfe70) ||
    (code >= 0xff00 && code < 0xff61) || (code >= 0xffe0 && code < 0xffe7) || (code >= 0x1f300 && code < 0x1faff) ||
    (code >= 0x20000 && code < 0x3fffe)
  );
}

/** How many cells of the grid a code point takes at a column. */
export function advance(code, column) {
  if (code > 0x1f && code < 0x300) return 1;
  if (code === 9) return TAB - (column % TAB);
  return isWide(code) ? 2 : 1;
}

/** What stands for a code point that has no shape of its own, or turns the direction of the line. */
export function shape(code) {
  if (code === 9) return "\t";
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  if (isHidden(code)) return "\u25cc";
  if (code >= 0x300 && code < 0x370) return `\u25cc${String.fromCodePoint(code)}`;
  return String.fromCodePoint(code);
}

/** A text by position of its code points. */
export class TextModel {
  constructor(text) {
    const codes = new Uint32Array(text.length);
    let count = 0;
    for (let unit = 0; unit < text.length; unit += 1) {
      let code = text.charCodeAt(unit);
      if (code >= 0xd800 && code < 0xdc00 && unit + 1 < text.length) {
        const low = text.charCodeAt(unit + 1);
        if (low >= 0xdc00 && low < 0xe000) {
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          unit += 1;
        }
      }
      codes[count] = code;
      count += 1;
    }
    this.codes = count === text.length ? codes : codes.slice(0, count);
    this.length = count;
  }

  /** The text from one position up to another. */
  slice(begin, end) {
    const pieces = [];
    for (let at = Math.max(0, begin); at < Math.min(end, this.length); at += 4096) {
      pieces.push(String.fromCodePoint(...this.codes.subarray(at, Math.min(at + 4096, end))));
    }
    return pieces.join("");
  }

  /** The first position of every line of at most `columns` cells, and the text's length at the end. */
  lines(columns) {
    const { codes, length } = this;
    let starts = new Uint32Array(Math.ceil(length / 24) + 16);
    let count = 1;
    let column = 0;
    let blank = -1; // where the line may be broken: after its last blank
    for (let at = 0; at < length; at += 1) {
      if (count + 2 > starts.length) {
        const larger = new Uint32Array(starts.length * 2);
        larger.set(starts);
        starts = larger;
      }
      const code = codes[at];
      if (code === NEWLINE) {
        starts[count] = at + 1;
        count += 1;
        column = 0;
        blank = -1;
        continue;
      }
      const width = advance(code, column);
      if (column + width > columns && at > starts[count - 1]) {
        const back = code !== 32 && blank > starts[count - 1] + columns / 3;
        starts[count] = back ? blank + 1 : at;
        count += 1;
        column = 0;
        blank = -1;
        for (let again = starts[count - 1]; again < at; again += 1) column += advance(codes[again], column);
      }
      column += advance(code, column);
      if (code === 32 || code === 9) blank = at;
    }
    if (starts[count - 1] !== length || count === 1) {
      starts[count] = length;
      count += 1;
    }
    return starts.slice(0, count);
  }
}

/** The line of a position: the last one that starts at or before it. */
export function lineAt(starts, position) {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= position) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}

/** The column of a position within its line. */
export function columnAt(codes, start, position) {
  let column = 0;
  for (let at = start; at < position; at += 1) column += advance(codes[at], column);
  return column;
}

/** The position at a column of a line: the code point whose cells hold it, the last one beyond the end. */
export function positionAt(codes, start, end, column) {
  let reached = 0;
  for (let at = start; at < end; at += 1) {
    reached += codes[at] === NEWLINE ? 1 : advance(codes[at], reached);
    if (reached > column) return at;
  }
  return Math.max(start, end - 1);
}
