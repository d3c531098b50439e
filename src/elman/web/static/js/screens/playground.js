// The playground: the model writes, every symbol shaded by its probability; a prompt is edited and cells answer.

import { numberOf, pinsOf } from "../core/address.js";
import { events, path, post } from "../core/api.js";
import { diverging, levelOf, surprise, surpriseLevel } from "../core/colour.js";
import { h, settled, show } from "../core/dom.js";
import { fixed, visible } from "../core/format.js";
import { onTheme, theme } from "../core/theme.js";
import { notice } from "../shell/context.js";
import { Written } from "./written.js";

/** The controls of sampling: {element, values(), set(view)}; the lab has the same. */
export function samplingControls() {
  const number = (value, min, max, step, title) => h("input", { type: "number", value, min, max, step, title });
  const temperature = number("0.8", "0.05", "5", "0.05", "Below 1 bolder on what is likely, above 1 more even");
  const topK = number("", "1", "100000", "1", "Only the k likeliest; empty: all");
  const topP = number("", "0.01", "1", "0.01", "Only the likeliest that hold this share together; empty: all");
  const seed = number("1", "0", "4294967295", "1", "The same seed writes the same text");
  const length = number("600", "1", "10000", "50", "Symbols to write");
  const fields = { temperature, top_k: topK, top_p: topP, seed, length };
  const optional = (input) => (input.value === "" ? null : Number(input.value));
  return {
    element: h(
      "div",
      { class: "row-of controls" },
      h("label", {}, "Temperature", temperature), h("label", {}, "Top k", topK), h("label", {}, "Top p", topP),
      h("label", {}, "Seed", seed), h("label", {}, "Length", length),
    ),
    values() {
      const found = { temperature: Number(temperature.value), length: Number(length.value), seed: optional(seed),
        top_k: optional(topK), top_p: optional(topP) };
      return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== null));
    },
    texts: () => Object.fromEntries(Object.entries(fields).map(([name, input]) => [name, input.value])),
    set(view) {
      for (const [name, input] of Object.entries(fields)) if (view[name] !== undefined) input.value = view[name];
    },
  };
}

export function open(context) {
  const { run } = context;
  const most = Math.log(Math.max(2, run.vocabulary_size ?? 100));
  const controls = samplingControls();
  const prompt = h("textarea", { rows: "4", spellcheck: "false", "aria-label": "Prompt", maxlength: "10000" });
  const output = new Written(most);
  const status = h("p", { class: "note", role: "status" });
  const problem = h("div", {});
  const lanes = h("div", { class: "lanes-host" });
  let controller = null;
  let pins = [];
  let states = null;
  let asked = null;

  const write = h("button", { type: "submit", class: "primary" }, "Write");
  const stop = h("button", { type: "button", disabled: true, onclick: () => controller?.abort() }, "Stop");

  async function sample() {
    controller?.abort();
    const mine = new AbortController();
    controller = mine;
    context.go({ prompt: prompt.value, ...controls.texts() }, { replace: true });
    show(problem);
    output.clear();
    stop.disabled = false;
    show(status, "Writing\u2026");
    const begun = performance.now();
    let count = 0;
    try {
      for await (const [name, data] of events(path`runs/${run.id}/sample`,
        { body: { prompt: prompt.value, ...controls.values() }, signal: mine.signal })) {
        if (name === "token") {
          output.add(data);
          count += 1;
        } else if (name === "done") {
          const seconds = (performance.now() - begun) / 1000;
          const each = fixed(-data.logprob / Math.max(1, count), 3);
          show(status, `${count} symbols in ${fixed(seconds, 1)} s, seed ${data.seed}, `
            + `log p ${fixed(data.logprob, 1)} nats, surprise ${each} a symbol.`);
        } else if (name === "failed" || name === "error") throw new Error(data.error);
      }
    } catch (error) {
      if (error.name === "AbortError") show(status, `Stopped after ${count} symbols.`);
      else {
        show(status);
        show(problem, notice(error, sample));
      }
    } finally {
      if (controller === mine) stop.disabled = true;
    }
  }

  function named(key) {
    const [layer, name, unit] = key.split(":");
    return `layer ${layer} ${name}[${unit}]`;
  }

  function drawStates() {
    show(lanes);
    if (!states) return;
    const text = prompt.value;
    const palette = diverging(theme());
    const shadesOf = surprise(theme());
    const row = (name, cells) =>
      h("div", { class: "lane" }, h("span", { class: "lane-title" }, name),
        h("span", { class: "lane-cells", tabindex: "0", role: "group", "aria-label": name }, cells));
    const box = (piece, colour, white, title) => {
      const element = h("span", { class: "lane-cell", title }, visible(piece).replace("\u2423", "\u00a0"));
      element.style.backgroundColor = colour;
      element.style.color = white ? "#fff" : "#000";
      return element;
    };
    if (!text) return;
    const rows = Object.entries(states.values
      ?? {}).map(([key, values]) => row(named(key), states.pieces.map((piece, t) => {
      const level = levelOf(values[t]);
      return box(piece, palette.css[level], palette.white[level], `${visible(piece)}: ${fixed(values[t], 3)}`);
    })));
    const nats = states.nats ?? [];
    const surprised = nats.length ? row("surprise", states.pieces.map((piece, t) => {
      const level = surpriseLevel(nats[t], most);
      return box(piece, shadesOf.css[level], shadesOf.white[level], `${visible(piece)}: ${fixed(nats[t], 2)} nats`);
    })) : null;
    const next = (states.top ?? []).at(-1);
    lanes.append(...[surprised, ...rows].filter(Boolean));
    if (next) {
      lanes.append(
        h("p", { class: "note" }, "Likeliest after the prompt: ",
          next.map(([symbol, p], k) =>
            [k ? ", " : "", h("b", { class: "symbol" }, visible(symbol)), ` ${fixed(p, 3)}`])));
    }
    if (!pins.length) lanes.append(
      h("p", { class: "note" }, context.corpus ? "Pin cells to see what the prompt does to them."
        : "Record a text and pin cells to see what the prompt does to them."));
  }

  const follow = settled(async () => {
    asked?.abort();
    asked = new AbortController();
    const cells = context.corpus ? pins.map((pin) => context.corpus.place(pin)) : [];
    try {
      states = prompt.value
        ? await post(path`runs/${run.id}/states`, { text: prompt.value.slice(0, 10_000), cells }, asked.signal) : null;
      drawStates();
    } catch (error) {
      if (error.name !== "AbortError") show(lanes, notice(error));
    }
  }, 150);

  const keep = settled(() => context.go({ prompt: prompt.value }, { replace: true }), 400);
  prompt.addEventListener("input", () => {
    follow();
    keep();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      sample();
    }
  });
  const stopTheme = onTheme(() => {
    output.recolour();
    drawStates();
  });

  let begun = false;
  return {
    element: h(
      "div",
      { class: "page" },
      h("h1", {}, "Playground"),
      h(
        "div",
        { class: "columns two" },
        h(
          "form",
          { class: "stack", novalidate: true, onsubmit: (event) => { event.preventDefault(); sample(); } },
          h("label", { class: "broad" }, "Prompt", prompt),
          lanes,
          controls.element,
          h("div", { class: "row-of" }, write, stop, h("span", { class: "quiet-text" }, "Ctrl + Enter writes")),
        ),
        h("section", { class: "card" }, h("h2", {}, "What it writes"), problem, output.element, status,
          h("p", { class: "note" },
            "The stronger the colour, the less likely was the symbol. Point at one to see what else it might "
              + "have been.")),
      ),
    ),
    keys: [["Ctrl Enter", "write, from the prompt"], ["w", "write", sample]],
    update(view) {
      const nextPins = context.corpus ? pinsOf(view).filter((cell) => cell < context.corpus.cells) : [];
      const again = String(nextPins) !== String(pins);
      pins = nextPins;
      if (!begun) {
        begun = true;
        prompt.value = view.prompt ?? "";
        controls.set(view);
        follow();
        if (numberOf(view, "seed") !== null && view.prompt !== undefined) sample();
      } else if (view.prompt !== undefined && view.prompt !== prompt.value && document.activeElement !== prompt) {
        prompt.value = view.prompt;
        controls.set(view);
        follow();
      } else if (again) follow();
    },
    close() {
      controller?.abort();
      asked?.abort();
      stopTheme();
      output.close();
    },
  };
}
