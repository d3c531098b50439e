// Words: texts are typed, a line each; a classifier says how likely each class is and which words mattered, a tagger
// what each word is.

import { path, post } from "../core/api.js";
import { numberOf } from "../core/address.js";
import { h, settled, show } from "../core/dom.js";
import { fixed, percent, printed } from "../core/format.js";
import { onTheme } from "../core/theme.js";
import { notice } from "../shell/context.js";
import { table } from "../shell/table.js";
import { Classes } from "./classes.js";
import { Labels } from "./labels.js";

const KEPT = 10_000; // characters of a text that an address holds
const SHOWN = 80; // characters of a text in the list

const SAID = {
  classify: { what: "Texts, a line each", ask: "Classify", list: "What the texts are",
    nothing: "Type a text to see its classes." },
  tag: { what: "Sentences, a line each", ask: "Label", list: "What the sentences hold",
    nothing: "Type a sentence to see the labels of its words." },
};

/** A row of the list: {title, result, probability, ...}; what the result is, and how sure the model is. */
function rowsOf(system, answered) {
  if (system === "classify") {
    return answered.texts.map((each) => ({ title: each.text, result: each.class, probability: each.probability }));
  }
  return answered.sentences.map((each) => ({
    title: each.words.join(" "),
    result: each.entities ? each.entities.map((found) => `${found.kind} ${found.text}`.trim()).join(", ") || "none"
      : each.labels.join(" "),
    probability: Math.min(...each.probabilities),
  }));
}

function brief(text) {
  const signs = Array.from(text);
  return printed(signs.length > SHOWN ? `${signs.slice(0, SHOWN - 1).join("")}\u2026` : text);
}

export function open(context) {
  const { run } = context;
  const said = SAID[run.system] ?? SAID.classify;
  const typed = h("textarea", { rows: "5", spellcheck: "false", dir: "auto", "aria-label": said.what });
  const problem = h("div", {});
  const list = h("div", {});
  const detail = h("section", { class: "card", "aria-label": "The chosen text" });
  const keep = (changes) => context.go(changes, { replace: true });
  const drawn = run.system === "tag" ? new Labels(context) : new Classes(context, (by) => keep({ by }));
  let answered = null;
  let asked = null;
  let chosen = 0;

  function drawList() {
    const rows = rowsOf(run.system, answered).map((row, place) => ({ ...row, place }));
    const classes = run.system === "classify";
    show(list, rows.length > 1 && table(
      [
        { id: "text", title: classes ? "Text" : "Sentence", value: (row) => row.title,
          cell: (row) => h("button", { type: "button", class: "plain", dir: "auto",
            "aria-pressed": String(row.place === chosen), onclick: () => choose(row.place, true) }, brief(row.title)) },
        { id: "result", title: classes ? "Class" : answered.scheme ? "Entities" : "Labels", value: (row) => row.result,
          cell: (row) => h("span", { class: "wrapped", dir: "auto" }, brief(row.result)) },
        { id: "p", title: classes ? "p" : "least p", number: true, best: "high",
          hint: classes ? "Calibrated probability of the class" : "Probability of the label that is least sure",
          value: (row) => row.probability, cell: (row) => fixed(row.probability, 3) },
      ],
      rows,
      { caption: said.list, rowClass: (row) => (row.place === chosen ? "chosen" : null) },
    ));
  }

  function choose(place, refocus = false) {
    chosen = place;
    drawList();
    if (refocus) {
      list.querySelector('[aria-pressed="true"]')?.focus();
      keep({ at: place || "" });
    }
    const texts = answered.texts ?? answered.sentences;
    if (texts.length) drawn.show(detail, texts[chosen], answered);
    else show(detail, h("p", { class: "note" }, said.nothing));
  }

  async function ask() {
    asked?.abort();
    const mine = new AbortController();
    asked = mine;
    keep({ text: typed.value.length > KEPT ? "" : typed.value });
    show(problem);
    try {
      const found = await post(path`runs/${run.id}/predictions`, { text: typed.value }, mine.signal);
      const rows = rowsOf(run.system, found);
      answered = found;
      choose(Math.max(0, Math.min(chosen, rows.length - 1)));
      if (rows.length) {
        const { result, probability } = rows[chosen];
        context.announce(run.system === "classify" ? `${result}, ${percent(probability)}` : result);
      }
    } catch (error) {
      if (error.name !== "AbortError") show(problem, notice(error, ask));
    }
  }

  const follow = settled(ask, 400);
  typed.addEventListener("input", follow);
  typed.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    }
  });
  const stopTheme = onTheme(() => answered && choose(chosen));
  show(detail, h("p", { class: "note" }, said.nothing));
  let begun = false;
  return {
    element: h(
      "div",
      { class: "page" },
      h("h1", {}, "Words"),
      h(
        "div",
        { class: "columns two" },
        h("form", { class: "stack", novalidate: true, onsubmit: (event) => { event.preventDefault(); ask(); } },
          h("label", { class: "broad" }, said.what, typed),
          h("div", { class: "row-of" }, h("button", { type: "submit", class: "primary" }, said.ask),
            h("span", { class: "quiet-text" }, "Follows as you type")),
          problem, list),
        detail,
      ),
    ),
    keys: [["Ctrl Enter", "ask at once, from the text"], ["\u2190 \u2192", "from word to word, in the coloured text"]],
    update(view) {
      drawn.by = view.by ?? drawn.by;
      if (begun) return;
      begun = true;
      typed.value = view.text ?? "";
      chosen = Math.max(0, numberOf(view, "at", 0));
      if (typed.value.trim()) ask();
    },
    close() {
      asked?.abort();
      stopTheme();
      drawn.close();
    },
  };
}
