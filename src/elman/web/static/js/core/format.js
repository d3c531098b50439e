// Numbers, times and symbols as people read them.

const MINUS = "\u2212";

/** A number with fixed digits after the point and a real minus; an en dash where there is none. */
export function fixed(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? MINUS : "") + text;
}

/** The same with a plus where it is positive: for changes. */
export function signed(value, digits = 3) {
  return value > 0 && Number.isFinite(value) ? `+${fixed(value, digits)}` : fixed(value, digits);
}

/** A whole number in groups of three. */
export function whole(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  return Math.round(value).toLocaleString("en-US").replace("-", MINUS);
}

/** A share as per cent. */
export function percent(value, digits = 1) {
  return Number.isFinite(value) && value !== null ? `${fixed(100 * value, digits)} %` : "\u2013";
}

/** A short axis label: 1.2M, 40k, 0.25. */
export function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${fixed(value / 1e6, size % 1e6 ? 1 : 0)}M`;
  if (size >= 1e4) return `${fixed(value / 1e3, size % 1e3 ? 1 : 0)}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(0).replace("-", MINUS);
  return String(Number(value.toPrecision(6))).replace("-", MINUS);
}

/** A corrected p: three digits, or "< .001". */
export function probability(p) {
  if (p === null || p === undefined || !Number.isFinite(p)) return "\u2013";
  return p < 0.001 ? "< 0.001" : fixed(p, 3);
}

/** Seconds as "42 s", "12 min", "3.4 h". */
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds === null) return "\u2013";
  if (seconds < 90) return `${fixed(seconds, seconds < 10 ? 1 : 0)} s`;
  return seconds < 5400 ? `${fixed(seconds / 60, 0)} min` : `${fixed(seconds / 3600, 1)} h`;
}

/** A moment from ISO text or Unix seconds. */
export function moment(value) {
  const date = typeof value === "number" ? new Date(value * 1000) : new Date(value ?? NaN);
  if (Number.isNaN(date.getTime())) return "\u2013";
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

const NAMED = { "\n": "\u21b5", "\t": "\u21e5", " ": "\u2423", "\r": "\u240d" };

/** A symbol made visible: blanks and controls as their pictures, unsafe direction marks as code points. */
export function visible(symbol) {
  return Array.from(String(symbol), (character) => {
    if (NAMED[character]) return NAMED[character];
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return isHidden(code) ? `U+${code.toString(16).toUpperCase().padStart(4, "0")}` : character;
  }).join("");
}

/** Whether a code point has no shape of its own or turns the direction of what follows. */
export function isHidden(code) {
  return (
    (code >= 0x80 && code < 0xa0) || code === 0xad || code === 0x61c || (code >= 0x200b && code <= 0x200f) ||
    (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code === 0xfeff ||
    (code >= 0xd800 && code < 0xe000) || (code >= 0xfff0 && code <= 0xfffb) || (code >= 0xe0000 && code < 0xe1000)
  );
}

/**
 * A text as it is printed: only what has no shape or turns the line is replaced. A joiner between two characters of the
 * same piece does its work there and stays.
 */
export function printed(text) {
  return Array.from(String(text)).map((character, at, all) => {
    const code = character.codePointAt(0);
    const control = (code < 0x20 && code !== 10 && code !== 9) || code === 0x7f;
    const joins = (code === 0x200c || code === 0x200d) && at > 0 && at < all.length - 1;
    return control || (isHidden(code) && !joins) ? visible(character) : character;
  }).join("");
}
