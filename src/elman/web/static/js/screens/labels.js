// A labelled sentence: its words in the colours of their kinds, entities as spans, and each word's label in a table.

import { GROUPS } from "../core/colour.js";
import { h, show } from "../core/dom.js";
import { fixed, percent, printed, visible, whole } from "../core/format.js";
import { theme } from "../core/theme.js";
import { folded, table } from "../shell/table.js";
import { Pieces } from "../text/pieces.js";

const OUTSIDE = "O";

function named(kind) {
  return printed(kind) || "entity";
}

/** Draws what a tagger says of a sentence. */
export class Labels {
  constructor(context) {
    this.context = context;
    this.pieces = null;
  }

  show(host, told, { kinds, scheme, spelled }) {
    this.pieces?.clear();
    // where there are no entities, the words' labels are all there is to read
    const unfolded = host.querySelector("details")?.open ?? !scheme;
    const colours = GROUPS[theme()];
    const tint = (element, kind) => {
      element.style.setProperty("--kind", colours[Math.max(0, kinds.indexOf(kind)) % colours.length]);
      return element;
    };
    const spans = scheme ? told.entities
      : told.labels.map((kind, at) => ({ kind, begin: at, end: at + 1, probability: told.probabilities[at] }))
        .filter((each) => each.kind !== OUTSIDE);
    const unseen = spelled ? "not in the vocabulary: known by its spelling" : "not in the vocabulary";
    show(
      host,
      h("h2", {}, scheme ? "Entities" : "Labels"),
      kinds.length > 0 && h("ul", { class: "row-of kinds", "aria-label": "Colours" },
        kinds.map((kind) => tint(h("li", { class: "kind" }, named(kind)), kind))),
      this._sentence(told, spans, tint, unseen),
      scheme && h("p", { class: "note" }, spans.length ? "An entity is as probable as the least probable label in it."
        : "No entity was found."),
      told.unknown.some(Boolean)
        && h("p", { class: "note" }, h("span", { class: "unseen" }, "Underlined"), ` words are ${unseen}.`),
      scheme && spans.length > 0 && this._entities(spans, tint),
      folded("Every word and its label", unfolded, () => this._table(told)),
    );
  }

  _sentence(told, spans, tint, unseen) {
    const element = h("div", { class: "coloured labelled", dir: "auto", tabindex: "0", role: "group",
      "aria-label": "The sentence with its labels; arrow keys go from word to word" });
    const pieces = told.words.map((word, at) =>
      h("span", { class: told.unknown[at] ? "unseen" : null }, printed(word)));
    const spaced = (from, to) => pieces.slice(from, to).flatMap((piece, k) => (k ? [" ", piece] : [piece]));
    let at = 0;
    const nodes = [];
    for (const span of spans) {
      nodes.push(...spaced(at, span.begin), " ",
        tint(h("span", { class: "entity" }, spaced(span.begin, span.end),
          h("small", { title: percent(span.probability) }, named(span.kind))), span.kind), " ");
      at = span.end;
    }
    nodes.push(...spaced(at, pieces.length));
    this.pieces = new Pieces(element, (place) => [
      h("p", { class: "tip-head" }, h("b", { class: "symbol" }, visible(told.words[place])),
        h("span", {}, printed(told.labels[place]))),
      h("p", {}, `p ${fixed(told.probabilities[place], 4)}`),
      told.unknown[place] && h("p", {}, unseen),
    ], (place) => this.context.announce(`${told.words[place]}: ${told.labels[place]}, `
      + `${percent(told.probabilities[place])}${told.unknown[place] ? ", not in the vocabulary" : ""}`));
    this.pieces.add(pieces);
    return h("div", {}, show(element, nodes));
  }

  _entities(spans, tint) {
    return table(
      [
        { id: "text", title: "Entity", value: (row) => row.text,
          cell: (row) => h("span", { dir: "auto" }, printed(row.text)) },
        { id: "kind", title: "Kind", value: (row) => row.kind,
          cell: (row) => tint(h("span", { class: "kind" }, named(row.kind)), row.kind) },
        { id: "words", title: "Words", number: true, value: (row) => row.begin,
          cell: (row) => (row.end - row.begin > 1 ? `${row.begin + 1}\u2013${row.end}` : String(row.end)) },
        { id: "p", title: "p", number: true, best: "high", value: (row) => row.probability,
          cell: (row) => fixed(row.probability, 4) },
      ],
      spans,
      { caption: "Entities" },
    );
  }

  _table(told) {
    return table(
      [
        { id: "word", title: "Word", value: (row) => row.word,
          cell: (row) => h("span", { class: row.unknown ? "unseen" : null, dir: "auto" }, visible(row.word)) },
        { id: "place", title: "Place", number: true, value: (row) => row.place, cell: (row) => whole(row.place) },
        { id: "label", title: "Label", value: (row) => row.label, cell: (row) => printed(row.label) },
        { id: "p", title: "p", hint: "Of this label by itself, whatever the others are", number: true, best: "high",
          value: (row) => row.p, cell: (row) => fixed(row.p, 4) },
        { id: "unknown", title: "Vocabulary", value: (row) => Number(row.unknown),
          cell: (row) => (row.unknown ? "unknown" : "known") },
      ],
      told.words.map((word, at) => ({ word, place: at + 1, label: told.labels[at], p: told.probabilities[at],
        unknown: told.unknown[at] })),
      { caption: "Words and labels" },
    );
  }

  close() {
    this.pieces?.clear();
  }
}
