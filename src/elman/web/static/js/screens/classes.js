// A classified text: its classes as bars, its words in the colours of what they did, and both as figures in a table.

import { figure } from "../charts/figure.js";
import { bars } from "../charts/kinds.js";
import { fileName } from "../charts/save.js";
import { diverging, levelOf } from "../core/colour.js";
import { h, show } from "../core/dom.js";
import { fixed, percent, printed, signed, visible, whole } from "../core/format.js";
import { theme, token } from "../core/theme.js";
import { folded, table } from "../shell/table.js";
import { Pieces } from "../text/pieces.js";

const MANY = 14; // classes from which the bars scroll

/** The text cut wherever a token begins or ends: [{text, tokens}]; parts of one character share a stretch. */
function stretches(text, words) {
  const signs = Array.from(text);
  const edges = new Set([0, signs.length]);
  for (const { begin, end } of words) edges.add(begin).add(end);
  const cuts = [...edges].sort((one, other) => one - other);
  let first = 0;
  return cuts.slice(1).map((to, k) => {
    const from = cuts[k];
    while (first < words.length && words[first].end <= from) first += 1;
    const tokens = [];
    for (let at = first; at < words.length && words[at].begin < to; at += 1) tokens.push(words[at]);
    return { text: signs.slice(from, to).join(""), tokens };
  });
}

function summed(tokens, by) {
  return tokens.reduce((sum, each) => sum + each[by], 0);
}

/** Draws what a classifier says of a text; `by` says what colours its words: "contribution" or "attention". */
export class Classes {
  constructor(context, keepBy) {
    this.context = context;
    this.keepBy = keepBy;
    this.by = "contribution";
    this.pieces = null;
  }

  show(host, told, { attention }) {
    this.pieces?.clear();
    const unfolded = host.querySelector("details")?.open ?? false;
    const by = attention && this.by === "attention" ? "attention" : "contribution";
    const redraw = (chosen) => {
      this.by = chosen;
      this.keepBy(chosen === "contribution" ? "" : chosen);
      this.show(host, told, { attention });
      host.querySelector(`input[value="${chosen}"]`).focus();
    };
    const choice = (value, title) => h("label", {},
      h("input", { type: "radio", name: "by", value, checked: value === by, onchange: () => redraw(value) }), title);
    show(
      host,
      h("h2", {}, `${printed(told.class)} `, h("small", {}, percent(told.probability))),
      this._bars(told),
      attention && h("fieldset", { class: "checks" }, h("legend", { class: "visually-hidden" }, "Colour of the words"),
        choice("contribution", "What each word did"), choice("attention", "Attention")),
      this._text(told, by),
      this._scale(told, by),
      told.words.some((word) => word.unknown)
        && h("p", { class: "note" }, h("span", { class: "unseen" }, "Underlined"), " words are not in the vocabulary."),
      told.unread > 0 && h("p", { class: "note" },
        `The model reads ${whole(told.words.length)} tokens of a text; the last ${whole(told.unread)} were left out.`),
      folded("The words in figures", unfolded, () => this._table(told, attention)),
    );
  }

  _bars(told) {
    const rows = Object.entries(told.probabilities).sort((one, other) => other[1] - one[1])
      .map(([name, value]) => ({ name: printed(name), value, colour: name === told.class ? token("--accent")
        : token("--axis"), note: `${printed(name)}: ${percent(value, 2)}` }));
    const drawn = figure((width) => bars(width, rows, { title: "Probabilities of the classes", range: [0, 1] }),
      { title: "Probabilities", name: fileName(this.context.run.name, "classes"),
        note: "Calibrated on held-out texts." });
    return rows.length > MANY ? h("div", { class: "scrolled", tabindex: "0", role: "region",
      "aria-label": "Probabilities of the classes" }, drawn) : drawn;
  }

  _text(told, by) {
    const palette = diverging(theme());
    const most = Math.max(...told.words.map((word) => Math.abs(word[by])), 1e-12);
    const parts = [];
    const element = h("div", { class: "coloured", dir: "auto", tabindex: "0", role: "group",
      "aria-label": "The text, coloured by what its words did; arrow keys go from word to word" });
    const nodes = stretches(told.text, told.words).map(({ text, tokens }) => {
      if (!tokens.length) return h("span", {}, printed(text));
      const level = levelOf(summed(tokens, by) / most);
      const piece = h("span", { class: tokens.some((each) => each.unknown) ? "unseen" : null }, printed(text));
      piece.style.backgroundColor = palette.css[level];
      piece.style.color = palette.white[level] ? "#fff" : "#000";
      parts.push([piece, tokens]);
      return piece;
    });
    this.pieces = new Pieces(element, (place) => parts[place][1].map((word) => this._word(told, word)),
      (place) => this.context.announce(parts[place][1].map((word) => this._spoken(told, word)).join("; ")));
    this.pieces.add(parts.map(([piece]) => piece));
    show(element, nodes);
    return element;
  }

  _word(told, word) {
    return h("div", {},
      h("p", { class: "tip-head" }, h("b", { class: "symbol" }, visible(word.token)),
        h("span", {}, `${signed(word.contribution, 3)} nats`)),
      h("p", {}, `speaks ${word.contribution < 0 ? "against" : "for"} ${printed(told.class)}`),
      word.attention !== undefined && h("p", {}, `attention ${percent(word.attention)}`),
      word.unknown && h("p", {}, "not in the vocabulary"));
  }

  _spoken(told, word) {
    return `${visible(word.token)}: ${signed(word.contribution, 2)} nats for ${printed(told.class)}`
      + (word.attention === undefined ? "" : `, attention ${percent(word.attention)}`)
      + (word.unknown ? ", not in the vocabulary" : "");
  }

  _scale(told, by) {
    const { css } = diverging(theme());
    const bar = h("i", { class: "scale-bar" });
    const most = Math.max(...told.words.map((word) => Math.abs(word[by])), 0);
    const ends = by === "attention" ? ["0 %", percent(most)]
      : [`against ${printed(told.class)}: ${signed(-most, 2)}`, `for: ${signed(most, 2)} nats`];
    const stops = by === "attention" ? [css[128], css[255]] : [css[1], css[128], css[255]];
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    return h("p", { class: "scale", "aria-label": `Colours from ${ends[0]} to ${ends[1]}` },
      h("span", {}, ends[0]), bar, h("span", {}, ends[1]),
      h("span", { class: "spring" }, by === "attention" ? "Share of the pooling" : "Gradient times input, log-odds"));
  }

  _table(told, attention) {
    return table(
      [
        { id: "token", title: "Word", value: (word) => word.token,
          cell: (word) => h("span", { class: word.unknown ? "unseen" : null, dir: "auto" }, visible(word.token)) },
        { id: "place", title: "Place", number: true, value: (word) => word.place, cell: (word) => whole(word.place) },
        { id: "contribution", title: "Effect", hint: "Nats of the class's log-odds, to first order", number: true,
          best: "high", value: (word) => word.contribution, cell: (word) => signed(word.contribution, 3) },
        attention && { id: "attention", title: "Attention", number: true, best: "high", value: (word) => word.attention,
          cell: (word) => percent(word.attention) },
        { id: "unknown", title: "Vocabulary", value: (word) => Number(word.unknown),
          cell: (word) => (word.unknown ? "unknown" : "known") },
      ].filter(Boolean),
      told.words.map((word, at) => ({ ...word, place: at + 1 })),
      { caption: "What the words did" },
    );
  }

  close() {
    this.pieces?.clear();
  }
}
