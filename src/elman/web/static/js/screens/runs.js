// Runs: the table of them, and one with its training, equations and recordings.

import { curves } from "../charts/kinds.js";
import { figure } from "../charts/figure.js";
import { fileName } from "../charts/save.js";
import { GROUPS } from "../core/colour.js";
import { h, show } from "../core/dom.js";
import { duration, fixed, moment, visible, whole } from "../core/format.js";
import { theme } from "../core/theme.js";
import { guarded } from "../shell/context.js";
import { recordingName } from "../shell/header.js";
import { recordForm } from "../shell/record.js";
import { screensOf } from "../shell/registry.js";
import { table } from "../shell/table.js";

// what the systems are called, and what one of their predictions is of
const KINDS = {
  language: ["language model", "token"], ngram: ["n-gram model", "token"], classify: ["classifier of texts", "text"],
  tag: ["tagger", "word"], translate: ["translator", "token"], image: ["classifier of images", "image"],
  caption: ["captioner", "word"], vqa: ["questions on images", "question"], video: ["video", "word"],
};

function kindOf(run) {
  const [name, unit] = KINDS[run.system] ?? [run.system ?? "", "prediction"];
  return { name, unit };
}

function sizeOf(run) {
  return run.hidden ? `${run.layers ? `${run.layers} \u00d7 ` : ""}${run.hidden}` : "";
}

function columns(context) {
  return [
    { id: "name", title: "Run", value: (run) => run.name,
      cell: (run) => (run.error ? visible(run.name)
        : h("a", { href: context.link({ screen: "runs", run: run.id }) }, visible(run.name))) },
    { id: "system", title: "System", value: (run) => run.system, cell: (run) => kindOf(run).name },
    { id: "cell", title: "Cell", value: (run) => run.cell,
      cell: (run) => (run.error ? h("span", { class: "bad-text" }, run.error) : run.cell) },
    { id: "size", title: "Layers", number: true, value: (run) => (run.layers ?? 1) * (run.hidden ?? 0),
      cell: (run) => sizeOf(run) },
    { id: "tokens", title: "Tokens", value: (run) => run.tokens,
      cell: (run) => (run.tokens ? `${whole(run.vocabulary_size)} ${run.tokens}` : "") },
    { id: "nats", title: "Nats", hint: "Best mean surprise on the held-out part, in nats a prediction", number: true,
      value: (run) => run.best_nats, cell: (run) => fixed(run.best_nats, 4) },
    { id: "step", title: "Steps", number: true, best: "high", value: (run) => run.step,
      cell: (run) => whole(run.step) },
    { id: "time", title: "Time", number: true, best: "high", value: (run) => run.seconds,
      cell: (run) => duration(run.seconds) },
  ];
}

function training(run) {
  const lines = run.metrics ?? [];
  const of = (name) => lines.filter((line) => Number.isFinite(line[name])).map((line) => [line.step, line[name]]);
  const train = of("train_nats");
  const valid = of("valid_nats");
  const all = [...train, ...valid];
  if (all.length < 2) return null;
  return figure(
    (width) => {
      const colours = GROUPS[theme()];
      const values = all.map(([, y]) => y);
      const least = Math.min(...values);
      // the first steps may stand above the frame, what the training came to never does
      const late = valid.slice(valid.length >> 1).map(([, y]) => y);
      const most = Math.min(Math.max(...values), Math.max(least * 3.2, ...late));
      return curves(
        width,
        [{ name: "training part", colour: colours[6], points: train },
          { name: "held-out part", colour: colours[0], points: valid, dots: valid.length < 40 }],
        {
          title: "Surprise while training", height: 230,
          x: { range: [0, Math.max(...all.map(([x]) => x))], label: "step" },
          y: { range: [least * 0.95, most * 1.02], label: `nats a ${kindOf(run).unit}` },
        },
      );
    },
    { title: "Training", name: fileName(run.name, "training") },
  );
}

/** The scores of the last evaluation beside its loss, such as accuracy. */
function scores(run) {
  const last = (run.metrics ?? []).findLast((line) => Number.isFinite(line.valid_nats)) ?? {};
  return Object.entries(last)
    .filter(([name, value]) => /^valid_(?!nats|bits|perplexity|tokens)/.test(name) && Number.isFinite(value))
    .map(([name, value]) => `${visible(name.slice(6))} ${fixed(value, 3)}`);
}

function facts(run) {
  const found = run.data?.sources ?? [];
  // one list of files, or one by part
  const sources = [Array.isArray(found) ? found : Object.values(found)].flat(2);
  const { name, unit } = kindOf(run);
  return h(
    "dl",
    { class: "facts" },
    [
      ["System", name],
      ["Network", `${sizeOf(run)} ${run.cell ?? ""}`.trim()],
      run.tokens && ["Tokens", `${whole(run.vocabulary_size)} ${run.tokens}`],
      Number.isFinite(run.best_nats)
        && ["Held-out", `${fixed(run.best_nats, 4)} nats, ${fixed(run.best_nats / Math.LN2, 3)} bits a ${unit}`],
      scores(run).length > 0 && ["Last evaluation", scores(run).join(", ")],
      ["Trained", `${whole(run.step)} steps in ${duration(run.seconds)}`],
      ["Data", sources.map((source) => String(source).split("/").at(-1)).join(", ") || "\u2013"],
    ].filter(Boolean).map(([title, value]) => [h("dt", {}, title),
      h("dd", {}, visible(value).replaceAll("\u2423", " "))]),
  );
}

function recordings(context, run) {
  const list = run.recordings ?? [];
  const rows = list.map((each) =>
    h(
      "li",
      {},
      h("a", { href: context.link({ screen: "hypotheses", run: run.id, rec: each.id }) }, recordingName(each)),
      h("span", { class: "quiet-text" },
        [each.source ? `${visible(each.source).replaceAll("\u2423", " ")}, ` : "", moment(each.created)]),
    ));
  return rows.length ? h("ul", { class: "plain-list" }, rows) : h("p", { class: "quiet-text" }, "None yet.");
}

export function open(context) {
  const list = h("div", {});
  const detail = h("div", { class: "analysis" });
  let form = null;
  let shown;

  async function drawRun(view) {
    form?.close();
    form = null;
    const { run } = context;
    if (!view.run || !run) return show(detail);
    const language = run.system === "language";
    const own = screensOf(run).filter((screen) => screen.needs === "run");
    form = language ? recordForm(context, async (id) => {
      await context.refreshRun(run.id);
      context.announce("Recorded");
      context.go({ screen: "hypotheses", rec: id });
    }) : null;
    return show(
      detail,
      h("h2", {}, visible(run.name)),
      run.error && h("p", { class: "bad-text" }, run.error),
      h(
        "div",
        { class: "columns two" },
        h("div", {}, facts(run), training(run)),
        h(
          "div",
          {},
          !language && own.length > 0 && h("section", { class: "card" }, h("h3", {}, "Look into it"),
            h("ul", { class: "plain-list" }, own.map((screen) =>
              h("li", {}, h("a", { href: context.link({ screen: screen.id, run: run.id }) }, screen.title))))),
          language && h("section", { class: "card" }, h("h3", {}, "Recordings"), recordings(context, run),
            h("details", { open: !(run.recordings ?? []).length }, h("summary", {}, "Record a text"), form.element)),
          run.equations && h("section", { class: "card" }, h("h3", {}, run.title ?? "Equations"),
            run.citation && h("p", { class: "note" }, run.citation),
              h("pre", { class: "equations", tabindex: "0" },
                run.equations.split("\n").filter((line) => !line.startsWith("#")).join("\n").trim())),
          run.command && h("section", { class: "card" }, h("h3", {}, "Command"),
            h("pre", { class: "command", tabindex: "0" }, visible(run.command).replaceAll("\u2423", " "))),
        ),
      ),
    );
  }

  return {
    element: h("div", { class: "page" }, h("h1", {}, "Runs"), list, detail),
    update(view) {
      const key = `${view.run} ${context.run?.recordings?.length}`;
      if (key === shown) return;
      shown = key;
      guarded(list, async () => {
        const runs = await context.loadRuns();
        if (!runs.length) {
          show(list, h("p", { class: "lead" }, "There is no run in this folder. Train one with ",
            h("code", {}, "elman train lm input.txt"), "."));
          return;
        }
        show(list, table(columns(context), runs, {
          caption: "Runs in this folder", sort: view.sort ?? "nats",
          onSort: (sort) => context.go({ sort }, { replace: true }),
          rowClass: (run) => (run.id === view.run ? "chosen" : null),
        }));
      });
      drawRun(view);
    },
    close: () => form?.close(),
  };
}
