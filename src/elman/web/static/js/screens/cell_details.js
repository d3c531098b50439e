// The column beside a cell's text: statistics, histogram, event-triggered average, strongest places, by character.

import { curves, histogram } from "../charts/kinds.js";
import { figure } from "../charts/figure.js";
import { fileName } from "../charts/save.js";
import { GROUPS, diverging, levelOf } from "../core/colour.js";
import { h } from "../core/dom.js";
import { fixed, visible, whole } from "../core/format.js";
import { theme, token } from "../core/theme.js";

const AROUND = 17; // tokens on each side of a strong place

function statistics(summary) {
  const { label } = summary;
  const entries = [["mean", summary.mean], ["deviation", summary.sd]];
  if (label) {
    for (const name of ["F1", "AUC", "precision", "recall", "threshold", "Spearman"]) {
      const value = label[name.toLowerCase()];
      if (Number.isFinite(value)) entries.push([name, value]);
    }
  }
  return h(
    "section",
    { class: "card" },
    h("h3", {}, label?.title ?? "Values"),
    h("dl", { class: "numbers" },
      entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, fixed(value, 3))))),
    Number.isFinite(label?.f1)
      && h("p", { class: "note" }, "Of the second half of the text, at the threshold chosen on the first."),
  );
}

function valuesFigure(summary, name) {
  const { label } = summary;
  const draw = (width) => {
    if (!label?.on) return histogram(width, [{ name: "all", histogram: summary.histogram, filled: true }]);
    return histogram(
      width,
      [{ name: "label off", histogram: label.off, colour: token("--quiet") },
        { name: "label on", histogram: label.on, colour: GROUPS[theme()][1] }],
      Number.isFinite(label.threshold) ? label.threshold : undefined,
    );
  };
  return figure(draw,
    { title: "Histogram", name: fileName(name, "histogram"), note: label?.on
      ? "Each as a share of its own positions; dashed: the threshold." : "" });
}

function triggered(summary, name) {
  const onsets = summary.label?.onsets;
  if (!onsets?.count) return null;
  const reach = onsets.lags.at(-1);
  return figure(
    (width) => curves(width, [{
      name: "mean value", colour: GROUPS[theme()][1],
      points: onsets.lags.map((lag, k) =>
        [lag, onsets.mean[k], Math.max(-1, onsets.mean[k] - onsets.sd[k]), Math.min(1, onsets.mean[k] + onsets.sd[k])]),
    }], {
      title: "Mean value around the onset of the label", zero: 0, height: 150, legend: false,
      x: { range: [-reach, reach], label: "tokens from the onset" }, y: { range: [-1, 1], ticks: [-1, 0, 1] },
    }),
    { title: "Around an onset", name: fileName(name, "onset"),
      note: `Mean and deviation over ${whole(onsets.count)} onsets of the label.` },
  );
}

function grades(summary, name) {
  const entries = (summary.label?.by_grade ?? []).filter((each) => each.count >= 5);
  if (entries.length < 2) return null;
  return figure(
    (width) => curves(width,
      [{ name: "mean value", colour: GROUPS[theme()][1], points: entries.map((each) => [each.grade, each.mean]),
        dots: entries.length < 12 }], {
      title: "Mean value by grade", height: 150, legend: false,
      x: { range: [entries[0].grade, entries.at(-1).grade], label: "grade" }, y: { range: [-1, 1], ticks: [-1, 0, 1] },
    }),
    { title: "By grade", name: fileName(name, "grades") },
  );
}

/** A stretch of text around a token, coloured, as one line of real text. */
function excerpt(corpus, values, t) {
  const palette = diverging(theme());
  const line = h("span", { class: "excerpt" });
  for (let k = Math.max(0, t - AROUND); k <= Math.min(corpus.length - 1, t + AROUND); k += 1) {
    const level = values[k] + 128;
    const piece = h("span", { class: k === t ? "here" : null }, visible(corpus.piece(k)).replaceAll("\u2423", " "));
    piece.style.backgroundColor = palette.css[level];
    piece.style.color = palette.white[level] ? "#fff" : "#000";
    line.append(piece);
  }
  return line;
}

function places(corpus, cell, title, found, onPlace) {
  if (!found?.length) return null;
  const list = h("ol", { class: "excerpts" });
  corpus.cell(cell).then((values) => {
    for (const place of found) {
      list.append(h("li", {}, h(
        "button",
        { type: "button", title: `Position ${whole(place.position)}`, onclick: () => onPlace(place.position) },
        excerpt(corpus, values, place.position),
        h("span", { class: "number" }, fixed(place.value, 2)),
      )));
    }
  }).catch(() => {});
  return h("section", { class: "card" }, h("h3", {}, title), list);
}

function byCharacter(summary) {
  const palette = diverging(theme());
  const entries = (summary.by_character ?? []).slice(0, 48);
  if (!entries.length) return null;
  return h(
    "section",
    { class: "card" },
    h("h3", {}, "Mean by symbol read"),
    h(
      "ul",
      { class: "symbols" },
      entries.map(({ symbol, count, mean }) => {
        const level = levelOf(mean);
        const box = h("li", { title: `${visible(symbol)}: mean ${fixed(mean, 3)} over ${whole(count)}` },
          visible(symbol));
        box.style.backgroundColor = palette.css[level];
        box.style.color = palette.white[level] ? "#fff" : "#000";
        return box;
      }),
    ),
  );
}

/** The nodes of the column. */
export function cellDetails({ corpus, cell, summary, onPlace }) {
  const name = corpus.describe(cell);
  return [
    statistics(summary),
    valuesFigure(summary, name),
    triggered(summary, name),
    grades(summary, name),
    places(corpus, cell, "Highest places", summary.strongest, onPlace),
    places(corpus, cell, "Lowest places", summary.weakest, onPlace),
    byCharacter(summary),
  ];
}
