// The text: what the network expected at every place, pinned cells as rows beneath each line, a phrase brushed to
// find cells.

import { Reader } from "../text/reader.js";
import { stripOf } from "../text/strip.js";
import { coloured } from "../text/picture.js";
import { numberOf, pinsOf } from "../core/address.js";
import { path, post } from "../core/api.js";
import { diverging, surprise, surpriseLevel } from "../core/colour.js";
import { h, settled, show } from "../core/dom.js";
import { fixed, visible, whole } from "../core/format.js";
import { onTheme, theme } from "../core/theme.js";
import { fileName, savePng, saveSvg } from "../charts/save.js";
import { notice } from "../shell/context.js";
import { Readout } from "./readout.js";

const FOUND = 20; // cells that a brushed phrase brings

/** Surprise as levels of its palette, a byte a token. */
function levelsOf(nats, most) {
  const levels = new Uint8Array(nats.length);
  for (let t = 0; t < nats.length; t += 1) levels[t] = surpriseLevel(nats[t], most);
  return levels;
}

export async function open(context) {
  const { corpus } = context;
  let pins = [];
  let at = -1;
  let brushed = "";
  let shade = null;
  let levels = null;
  let drawn = "";
  let matching = null;

  const most = Math.log(Math.max(2, corpus.manifest.vocabulary_size ?? context.run.vocabulary_size ?? 100));
  const cursorBox = h("section", { class: "card cursor-box" },
    h("p", { class: "quiet-text" }, "Point at a character, or move the cursor with the arrow keys."));
  const matches = h("section", { class: "card", "aria-live": "polite" });
  const lanes = h("ul", { class: "lane-names" });
  const problem = h("div", {});
  const readout = new Readout(context, corpus, () => pins);
  let waiting = {};
  const send = settled(() => {
    context.go(waiting, { replace: true });
    waiting = {};
  }, 250);

  /** What the address should say, together with what it was told just before. */
  function remember(changes) {
    Object.assign(waiting, changes);
    send();
  }

  const find = settled((begin, end) => search(begin, end), 200);
  const shading = h(
    "select",
    { "aria-label": "Colour of the text", onchange: () => context.go({ shade: shading.value }, { replace: true }) },
    h("option", { value: "surprise" }, "surprise"),
    h("option", { value: "none" }, "nothing"),
  );
  const reader = new Reader({
    label: "The text; shift and arrows brush a phrase",
    onHover: (position, rectangle) => readout.hover(position, rectangle),
    onCursor: (position) => seen(corpus.token(position)),
    onBrush: (begin, end) => brush(begin, end),
    onScroll: (first, last) => strip.view(first, last, corpus.model.length),
  });
  const strip = stripOf(reader, corpus, seen);

  function seen(t) {
    if (t < 0) return;
    at = t;
    remember({ at: t });
    readout.cursor(t, cursorBox);
  }

  function idle() {
    show(matches, h("h3", {}, "Brush a phrase"),
      h("p", { class: "quiet-text" },
        "Drag over a phrase, or hold shift and press the arrow keys: the cells that behave differently inside "
          + "it stand here."));
  }

  function brush(begin, end) {
    const tokens = end > begin ? [Math.max(0, corpus.token(begin)), corpus.token(end - 1) + 1] : null;
    brushed = tokens ? `${tokens[0]}-${tokens[1]}` : "";
    remember({ sel: brushed, at });
    if (tokens) find(...tokens);
    else {
      matching?.abort();
      idle();
    }
  }

  async function search(begin, end) {
    matching?.abort();
    matching = new AbortController();
    const { signal } = matching;
    try {
      const found = await post(path`recordings/${corpus.id}/match`, { begin, end, count: FOUND }, signal);
      const phrase = corpus.model.slice(corpus.characters(begin)[0], corpus.characters(end - 1)[1]);
      show(
        matches,
        h("h3", {}, "Cells of ",
          h("q", {}, visible(phrase.length > 60 ? `${phrase.slice(0, 59)}\u2026` : phrase).replaceAll("\u2423", " "))),
        h("table", { class: "compact" },
          h("thead", {},
            h("tr", {}, h("th", { scope: "col" }, "Cell"), h("th", { scope: "col", class: "number" }, "Inside"),
              h("th", { scope: "col", class: "number" }, "Outside"),
                h("th", { scope: "col", class: "number" }, "Effect"), h("td", {}))),
          h("tbody", {}, found.map((each) => h("tr", {},
            h("th", { scope: "row" },
              h("a", { href: context.link({ screen: "cell", cell: each.cell, at: begin }) },
                corpus.describe(each.cell))),
            h("td", { class: "number" }, fixed(each.inside, 2)), h("td", { class: "number" }, fixed(each.outside, 2)),
              h("td", { class: "number" }, fixed(each.effect, 2)),
            h("td", {}, h("button",
              { type: "button", class: "quiet small", "aria-label": `Pin ${corpus.describe(each.cell)}`,
                onclick: () => context.togglePin(each.cell) }, "Pin")))))),
      );
    } catch (error) {
      if (error.name !== "AbortError") show(matches, notice(error, () => search(begin, end)));
    }
  }

  async function draw() {
    const wanted = pins;
    try {
      const [nats, ...cells] = await Promise.all([corpus.nats(), ...wanted.map((cell) => corpus.cell(cell))]);
      if (wanted !== pins) return;
      levels ??= levelsOf(nats, most);
      const palette = diverging(theme());
      const field = { values: levels, palette: surprise(theme()), shift: 0 };
      reader.set({
        field: shade === "none" ? null : field,
        lanes: cells.map((values) => ({ values, palette, shift: 128 })),
      });
      strip.set(wanted.length ? { values: cells[0], palette, shift: 128 } : field, null);
      show(problem);
    } catch (error) {
      show(problem, notice(error, draw));
    }
    show(lanes, wanted.map((cell, k) =>
      h("li", {}, h("span", { class: "lane-number" }, k + 1), corpus.describe(cell))));
  }

  const picture = (action) => {
    const { field } = reader.scene;
    const [first, last] = reader.visibleRange();
    const shown = field ?? { values: levels, palette: surprise(theme()), shift: 0 };
    action(coloured(corpus, shown, first, last, reader.columns, "Surprise of every symbol"), fileName("text", first));
  };
  const stopTheme = onTheme(draw);
  idle();

  return {
    element: h(
      "div",
      { class: "workbench" },
      h("div", { class: "bench-head" },
        h("h1", {}, "Text"),
        h("label", { class: "row-of inline" }, h("span", {}, "Colour"), shading),
        lanes,
        h("div", { class: "row-of end" },
          h("button", { type: "button", class: "quiet small", onclick: () => picture(savePng) }, "PNG"),
          h("button", { type: "button", class: "quiet small", onclick: () => picture(saveSvg) }, "SVG"))),
      problem,
      strip.element,
      reader.element,
      h("aside", { class: "details", "aria-label": "About the place" }, cursorBox, matches,
        h("p", { class: "note" },
          `${whole(corpus.length)} tokens. The stronger the colour, the more surprising, `
          + `up to ${fixed(most, 1)} nats: a uniform guess.`)),
    ),
    keys: [
      ["\u2190 \u2192 \u2191 \u2193", "move the cursor, once the text has the focus"],
      ["shift \u2190 \u2192", "brush a phrase"],
      ["Ctrl C", "copy the brushed phrase"],
    ],
    update(view) {
      if (reader.model === null) reader.setText(corpus.model, corpus.tokenOf);
      const nextPins = pinsOf(view).filter((cell) => cell < corpus.cells);
      const nextShade = view.shade === "none" ? "none" : "surprise";
      shading.value = nextShade;
      const key = `${nextPins} ${nextShade}`;
      if (key !== drawn) {
        drawn = key;
        pins = nextPins;
        shade = nextShade;
        draw();
      }
      const t = numberOf(view, "at");
      if (t !== null && t !== at && t >= 0 && t < corpus.length) {
        at = t;
        requestAnimationFrame(() => {
          const position = corpus.characters(t)[0];
          reader.set({ cursor: position });
          reader.reveal(position);
          readout.cursor(t, cursorBox);
        });
      }
      const wanted = view.sel ?? "";
      if (wanted !== brushed) {
        const found = /^(\d+)-(\d+)$/.exec(wanted);
        brushed = wanted;
        if (found && Number(found[1]) < Number(found[2]) && Number(found[2]) <= corpus.length) {
          const [begin, end] = [Number(found[1]), Number(found[2])];
          reader.set({ brush: [corpus.characters(begin)[0], corpus.characters(end - 1)[1]] });
          find(begin, end);
        } else {
          reader.set({ brush: null });
          idle();
        }
      }
    },
    close() {
      matching?.abort();
      stopTheme();
      reader.close();
      strip.close();
      readout.hover(null);
    },
  };
}
