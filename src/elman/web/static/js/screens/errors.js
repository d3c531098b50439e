// Errors: under which oracle each falls, what distance does to closing braces, and the model beside an n-gram model.

import { bars, curves } from "../charts/kinds.js";
import { figure } from "../charts/figure.js";
import { fileName } from "../charts/save.js";
import { GROUPS, NEGATIVE, POSITIVE, css } from "../core/colour.js";
import { h } from "../core/dom.js";
import { fixed, percent, short, signed, visible, whole } from "../core/format.js";
import { theme } from "../core/theme.js";
import { table } from "../shell/table.js";
import { analysisScreen } from "./analysis.js";

const LISTED = 24; // characters of the bar chart

function taxonomyPart(context, { taxonomy }) {
  const rows = taxonomy.categories;
  return h(
    "div",
    { class: "columns two" },
    figure(
      (width) => bars(width, rows.map((row, k) => ({
        name: row.title, value: row.share, colour: GROUPS[theme()][k % 8],
          note: row.parts.map((part) => `${part.label}: ${whole(part.count)}`).join("; "),
      })), { title: "Errors by oracle", format: (value) => percent(value), axis: (value) => percent(value, 0),
        range: [0, Math.max(...rows.map((row) => row.share), 0.01) * 1.02], tall: 28 }),
      { title: "Errors by oracle", name: fileName(context.run.name, "errors"), large: true,
        note: "The oracles are asked in this order; each takes what the earlier ones left." },
    ),
    h(
      "div",
      { class: "table-host", tabindex: "0", role: "region", "aria-label": "Errors by oracle" },
      h("table", {},
        h("thead", {},
          h("tr", {}, h("th", { scope: "col" }, "Oracle"),
            ["Errors", "Share", "Left after"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
        h("tbody", {}, rows.map((row) => [
          h("tr", {}, h("th", { scope: "row" }, row.title), h("td", { class: "number" }, whole(row.count)),
            h("td", { class: "number" }, percent(row.share)), h("td", { class: "number" }, whole(row.left))),
          row.parts.length > 1
            && row.parts.map((part) =>
              h("tr", { class: "part" }, h("th", { scope: "row" }, part.label),
                h("td", { class: "number" }, whole(part.count)), h("td", {}), h("td", {}))),
        ]))),
    ),
  );
}

function bracesPart(context, result) {
  const { braces } = result;
  if (!braces) return h("p", { class: "note" }, "This text has no closing braces to look at.");
  const at = (values, errors) =>
    braces.distance.map((distance, k) =>
      [distance, values[k], values[k] === null ? null : Math.max(0, values[k] - 2 * (errors[k] ?? 0)),
        values[k] === null ? null : Math.min(1, values[k] + 2 * (errors[k] ?? 0))]).filter(([distance, value]) =>
          distance !== null && value !== null);
  const distances = braces.distance.filter((value) => value !== null);
  if (distances.length < 2) return null;
  return figure(
    (width) => curves(
      width,
      [
        { name: "this model", colour: GROUPS[theme()][0], points: at(braces.model, braces.model_error), dots: true },
        { name: `${braces.order}-gram model`, colour: GROUPS[theme()][6], points: at(braces.ngram, braces.ngram_error),
          dots: true },
      ],
      { title: "Probability of a closing brace by distance", height: 260,
        x: { range: [Math.max(1, distances[0]), distances.at(-1)], log: true,
          label: "characters since its opening brace" }, y: { range: [0, 1], label: "mean probability" } },
    ),
    { title: "Closing braces", name: fileName(context.run.name, "braces"), large: true,
      note: `${whole(braces.pairs)} pairs; bands: two standard errors.` },
  );
}

function charactersPart(context, result) {
  const { by_character: by } = result;
  const rows = by.characters;
  const listed = [...rows].sort((one, other) => Math.abs(other.total) - Math.abs(one.total)).slice(0,
    LISTED).sort((one, other) => other.total - one.total);
  return h(
    "div",
    { class: "columns two" },
    figure(
      (width) => bars(width, listed.map((row) => ({
        name: visible(row.symbol), value: row.total, colour: css(row.total < 0 ? NEGATIVE : POSITIVE),
          note: `${whole(row.count)} times; ${signed(row.difference, 3)} nats each`,
      })), { title: "Nats saved by character", left: 64, format: short10,
        range: [Math.min(0, ...listed.map((row) => row.total)), Math.max(1, ...listed.map((row) => row.total))],
          tall: 19, label: "nats that the model saves over all occurrences" }),
      { title: `Beside a ${by.order}-gram model, by character`, name: fileName(context.run.name, "characters"),
        large: true },
    ),
    table(
      [
        { id: "symbol", title: "Character", value: (row) => row.symbol,
          cell: (row) => h("span", { class: "symbol" }, visible(row.symbol)) },
        { id: "count", title: "Count", number: true, best: "high", value: (row) => row.count,
          cell: (row) => whole(row.count) },
        { id: "model", title: "Model", hint: "Mean surprise in nats", number: true, value: (row) => row.model,
          cell: (row) => fixed(row.model, 3) },
        { id: "ngram", title: `${by.order}-gram`, hint: "Mean surprise in nats", number: true,
          value: (row) => row.ngram, cell: (row) => fixed(row.ngram, 3) },
        { id: "difference", title: "Saved", hint: "Nats an occurrence", number: true, best: "high",
          value: (row) => row.difference, cell: (row) => signed(row.difference, 3) },
        { id: "total", title: "In all", number: true, best: "high", value: (row) => row.total,
          cell: (row) => short10(row.total) },
      ],
      rows.slice(0, 120),
      { caption: "The model beside the n-gram model, by character", sort: "-total" },
    ),
  );
}

function short10(value) {
  return Math.abs(value) >= 1e4 ? short(Math.round(value / 1e3) * 1e3) : whole(value);
}

function drawn(context, result) {
  const { taxonomy } = result;
  return [
    h("dl", { class: "effect" }, [
      ["surprise", `${fixed(result.model_nats, 3)}`, "nats a character"],
      [`${result.order}-gram model`, `${fixed(result.ngram_nats, 3)}`, "nats a character"],
      ["errors", percent(taxonomy.error_rate), `of ${whole(taxonomy.characters)} characters got less than one half`],
      ["only this model errs", whole(result.by_character.errors.only_model), "characters"],
      ["only the n-gram model", whole(result.by_character.errors.only_ngram), "characters"],
    ].map(([name, value, unit]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, unit))))),
    h("h2", {}, "What would have helped"),
    taxonomyPart(context, result),
    h("h2", {}, "Long reach"),
    bracesPart(context, result),
    h("h2", {}, "Where the network is better"),
    charactersPart(context, result),
  ];
}

export function open(context) {
  return analysisScreen(context, {
    kind: "errors", title: "Errors", doing: "Taking the errors apart", button: "Take the errors apart",
    lead: "An error is a character that the model gave less than one half. Which simple helper would have "
      + "mended it: a short context, a memory of what was read, more text, knowing where words begin?",
    draw: (result) => drawn(context, result),
  });
}
