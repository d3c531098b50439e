// Colour of values: diverging about zero, told apart by hue and by lightness, with the ink that reads best on it.

export const POSITIVE = [33, 102, 172];
export const NEGATIVE = [214, 96, 4];

const SURPRISE = {
  light: [[255, 255, 255], [253, 208, 140], [240, 120, 40], [190, 30, 25], [95, 0, 20]],
  dark: [[22, 24, 29], [84, 40, 16], [176, 80, 20], [240, 150, 50], [255, 236, 170]],
};
const ZERO = { light: [255, 255, 255], dark: [22, 24, 29] };

function luminance([r, g, b]) {
  const linear = (value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

function mixed(from, to, share) {
  return from.map((value, k) => Math.round(value + (to[k] - value) * share));
}

/** `rgb(...)` of three numbers. */
export function css([r, g, b]) {
  return `rgb(${r},${g},${b})`;
}

/** A colour for each of 256 levels: packed for pixels, as text for SVG, and which ink reads on it. */
function table(colourOf) {
  const colours = Array.from({ length: 256 }, (_, level) => colourOf(level));
  return {
    colours,
    css: colours.map(css),
    // byte order of ImageData: red first in memory, so red is the low byte of a little-endian word
    packed: Uint32Array.from(colours, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0),
    // 1 where white reads better than black
    white: Uint8Array.from(colours, (colour) => {
      const light = luminance(colour);
      return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? 1 : 0;
    }),
  };
}

const cache = new Map();

function cached(key, make) {
  if (!cache.has(key)) cache.set(key, make());
  return cache.get(key);
}

/** The diverging table of a theme, by stored value + 128: a cell's int8 of -127..127 stands for -1..1. */
export function diverging(theme) {
  return cached(`diverging ${theme}`, () =>
    table((level) => {
      const value = Math.max(-1, (level - 128) / 127);
      return mixed(ZERO[theme], value < 0 ? NEGATIVE : POSITIVE, Math.abs(value));
    }),
  );
}

/** The table of surprise: 0 expected, 255 as surprising as a uniform guess or more. */
export function surprise(theme) {
  return cached(`surprise ${theme}`, () =>
    table((level) => {
      const stops = SURPRISE[theme];
      const at = (level / 255) * (stops.length - 1);
      const first = Math.min(stops.length - 2, Math.floor(at));
      return mixed(stops[first], stops[first + 1], at - first);
    }),
  );
}

/** The level of a value of -1..1 in the diverging table. */
export function levelOf(value) {
  return 128 + Math.round(127 * Math.max(-1, Math.min(1, value || 0)));
}

/** The level of a surprise of `nats` where `most` nats are a uniform guess. */
export function surpriseLevel(nats, most) {
  return Number.isFinite(nats) ? Math.max(0, Math.min(255, Math.round((255 * nats) / most))) : 0;
}

// Okabe and Ito's palette, without the two hues that mean sign here, for lines and groups.
export const GROUPS = {
  light: ["#0b6e4f", "#a3336f", "#946300", "#5b3fa8", "#1f7a99", "#7a4b2a", "#4d4d4d", "#a01c1c"],
  dark: ["#3ecf9c", "#f08fc4", "#e6b54a", "#b6a1ff", "#6fcbe8", "#d9a579", "#bdbdbd", "#ff8f8f"],
};
