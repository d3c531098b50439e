// One cell: its text coloured, the whole corpus as a strip, and what is known of it.

import { Reader } from "../text/reader.js";
import { stripOf } from "../text/strip.js";
import { coloured } from "../text/picture.js";
import { numberOf, pinsOf } from "../core/address.js";
import { path } from "../core/api.js";
import { diverging } from "../core/colour.js";
import { h, settled, show } from "../core/dom.js";
import { onTheme, theme } from "../core/theme.js";
import { fileName, save, savePng, saveSvg } from "../charts/save.js";
import { notice } from "../shell/context.js";
import { cellDetails } from "./cell_details.js";
import { Readout } from "./readout.js";

export function open(context) {
  const { corpus } = context;
  let hypotheses = []; // the labels of a long text take seconds to be counted, and no cell waits for them
  let cell = 0;
  let label = null;
  let pattern = null;
  let asked = 0;
  let at = -1;

  const title = h("h1", { class: "cell-title" });
  const pin = h("button", { type: "button", onclick: () => context.togglePin(cell) }, "Pin");
  const number = h("input", {
    type: "text", class: "cell-place", spellcheck: "false", autocomplete: "off",
      "aria-label": "Cell, as layer:name:unit", title: "Cell, as layer:name:unit",
    onchange: () => {
      const [layer, name, unit] = number.value.split(":");
      const found = corpus.find(Number(layer), name, Number(unit));
      if (found === null) number.setAttribute("aria-invalid", "true");
      else context.go({ cell: found });
    },
  });
  const labels = h(
    "select",
    { "aria-label": "Label to compare with",
      onchange: () => {
        const chosen = hypotheses.find((each) => each.name === labels.value);
        context.go({ hyp: labels.value, pattern: chosen?.regex ?? null });
      } },
    h("option", { value: "" }, "no label"),
  );
  const aside = h("aside", { class: "details", "aria-label": "About the cell" });
  const cursorBox = h("section", { class: "card cursor-box" },
    h("p", { class: "quiet-text" }, "Point at a character, or move the cursor with the arrow keys."));
  const problem = h("div", {});
  const readout = new Readout(context, corpus, () => [cell]);
  const remember = settled((t) => context.go({ at: t }, { replace: true }), 250);
  const reader = new Reader({
    label: "Text coloured by the cell",
    onHover: (position, rectangle) => readout.hover(position, rectangle),
    onCursor: (position) => seen(corpus.token(position)),
    onScroll: (first, last) => strip.view(first, last, corpus.model.length),
  });
  const strip = stripOf(reader, corpus, seen);

  function offer(list) {
    hypotheses = list;
    show(labels, h("option", { value: "" }, "no label"),
      list.map((each) => h("option", { value: each.name }, each.title)));
    labels.value = label ?? "";
  }

  function seen(t) {
    if (t < 0) return;
    at = t;
    remember(t);
    readout.cursor(t, cursorBox);
  }

  function place(t) {
    at = t;
    const position = corpus.characters(t)[0];
    reader.set({ cursor: position });
    reader.reveal(position);
    readout.cursor(t, cursorBox);
  }

  async function draw() {
    asked += 1;
    const mine = asked;
    const begun = performance.now();
    title.textContent = corpus.describe(cell);
    const { layer, name, unit } = corpus.place(cell);
    number.value = `${layer}:${name}:${unit}`;
    number.removeAttribute("aria-invalid");
    labels.value = label ?? "";
    try {
      const [values,
        marks] = await Promise.all([corpus.cell(cell), label ? corpus.labels(label, pattern).catch(() => null) : null]);
      if (mine !== asked) return;
      const field = { values, palette: diverging(theme()), shift: 128 };
      reader.set({ field, marks });
      reader.paint();
      strip.set(field, marks);
      reader.element.dataset.cell = String(cell);
      reader.element.dataset.milliseconds = (performance.now() - begun).toFixed(1);
      show(problem);
    } catch (error) {
      if (mine === asked) show(problem, notice(error, draw));
    }
    drawDetails(mine);
  }

  // the numbers of a cell may take longer than its colours, and nobody who leafs through cells waits for them
  const drawDetails = settled(async (mine) => {
    try {
      const summary = await corpus.summary(cell, label, pattern);
      if (mine !== asked) return;
      show(aside, cellDetails(
        { context, corpus, cell, summary, onPlace: (t) => context.go({ at: t }) }), cursorBox);
    } catch (error) {
      if (mine === asked) show(aside, notice(error, () => drawDetails(mine)), cursorBox);
    }
  }, 60);

  const step = (by) => context.go({ cell: (cell + by + corpus.cells) % corpus.cells }, { replace: true });
  const picture = (action) => {
    const field = reader.scene.field;
    if (!field) return;
    const [first, last] = reader.visibleRange();
    action(coloured(corpus, field, first, last, reader.columns, corpus.describe(cell)), fileName("cell", number.value));
  };
  const exportPage = () => {
    const [first, last] = reader.visibleRange();
    const begin = Math.max(0, corpus.token(first));
    const end = Math.min(corpus.length, Math.max(begin + 4000, corpus.token(Math.max(first, last - 1)) + 1));
    const query = new URLSearchParams({ cells: [...new Set([cell, ...pinsOf(context.view)])].join(","), begin, end });
    if (label) query.set("hypothesis", label);
    if (label && pattern) query.set("regex", pattern);
    save(`/api/${path`recordings/${corpus.id}/export.html`}?${query}`, "");
  };
  const stopTheme = onTheme(draw);
  corpus.hypotheses().then(offer, () => {});

  const element = h(
    "div",
    { class: "workbench" },
    h(
      "div",
      { class: "bench-head" },
      title,
      h("div", { class: "row-of" },
        h("button", { type: "button", "aria-label": "Previous cell", title: "Previous cell ([)",
          onclick: () => step(-1) }, "\u2190"),
        number,
        h("button", { type: "button", "aria-label": "Next cell", title: "Next cell (])", onclick: () => step(1) },
          "\u2192"),
        pin),
      h("label", { class: "row-of inline" }, h("span", {}, "Label"), labels),
      h("div", { class: "row-of end" },
        h("button", { type: "button", class: "quiet small", onclick: () => picture(savePng) }, "PNG"),
        h("button", { type: "button", class: "quiet small", onclick: () => picture(saveSvg) }, "SVG"),
        h("button", { type: "button", class: "quiet small", title: "A page of its own that opens without Elman",
          onclick: exportPage }, "HTML")),
    ),
    problem,
    strip.element,
    reader.element,
    aside,
  );

  return {
    element,
    keys: [
      ["]", "next cell", () => step(1)],
      ["[", "previous cell", () => step(-1)],
      ["p", "pin or unpin the cell", () => context.togglePin(cell)],
      ["/", "name a cell", () => number.select()],
      ["\u2190 \u2192 \u2191 \u2193", "move the cursor, once the text has the focus"],
    ],
    update(view) {
      const nextCell = Math.max(0, Math.min(corpus.cells - 1, numberOf(view, "cell", 0)));
      const nextLabel = view.hyp || null;
      if (nextLabel && !hypotheses.some((each) => each.name === nextLabel)) {
        offer([...hypotheses, { name: nextLabel, title: nextLabel, regex: view.pattern }]);
      }
      const pinned = pinsOf(view).includes(nextCell);
      pin.textContent = pinned ? "Pinned" : "Pin";
      pin.setAttribute("aria-pressed", String(pinned));
      if (reader.model === null) reader.setText(corpus.model, corpus.tokenOf);
      if (nextCell !== cell || nextLabel !== label || asked === 0) {
        cell = nextCell;
        label = nextLabel;
        pattern = view.pattern ?? null;
        draw();
      }
      const t = numberOf(view, "at");
      if (t !== null && t !== at && t >= 0 && t < corpus.length) requestAnimationFrame(() => place(t));
    },
    close() {
      stopTheme();
      reader.close();
      strip.close();
      readout.hover(null);
    },
  };
}
