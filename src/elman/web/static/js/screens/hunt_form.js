// What a hunt looks for: hypotheses to tick, patterns of one's own, and how hard to look.

import { h, show } from "../core/dom.js";
import { visible, whole } from "../core/format.js";

const SUGGESTED = "suggested";
const SHIFTS = 200;

/**
 * A plan is the address's word for a hunt: JSON with what differs from the usual.
 *
 * {only: [names] (default those that suit the text), own: {name: pattern}, shifts, alone: 1 (no untrained network),
 * probe: 1}, or "suggested" where nothing differs.
 */
function writePlan(plan) {
  const used = Object.fromEntries(Object.entries(plan).filter(([, value]) => value !== undefined));
  return Object.keys(used).length ? JSON.stringify(used) : SUGGESTED;
}

function parsed(text) {
  if (text === SUGGESTED) return {};
  try {
    const plan = JSON.parse(text);
    return plan && typeof plan === "object" ? plan : {};
  } catch {
    return {};
  }
}

/** The request of a plan, or null where it looks for nothing. */
export function readPlan(text, known) {
  const plan = parsed(text);
  const names = Array.isArray(plan.only)
    ? plan.only.filter((name) => known.some((each) => each.name === name))
    : known.filter((each) => each.suggested).map((each) => each.name);
  const own = plan.own && typeof plan.own === "object" ? plan.own : {};
  if (!names.length && !Object.keys(own).length) return null;
  const request = { hypotheses: names, baseline: !plan.alone, probe: Boolean(plan.probe) };
  if (Number.isInteger(plan.shifts)) request.shifts = plan.shifts;
  if (Object.keys(own).length) request.regexes = own;
  return request;
}

/** The form; `submit(plan)` is called with a plan as text. It has {element, busy(yes), set(plan)}. */
export function huntForm(known, submit) {
  const listed = known.filter((each) => !each.regex);
  const boxes = listed.map((each) => [each, h("input", { type: "checkbox", checked: each.suggested })]);
  const own = new Map();
  const pattern = h("input", {
    type: "text", spellcheck: "false", placeholder: "\\bint\\b|\\bchar\\b", "aria-label": "Regular expression",
  });
  const name = h("input", {
    type: "text", spellcheck: "false", placeholder: "types", "aria-label": "Name of the hypothesis",
  });
  const chips = h("ul", { class: "chips" });
  const shifts = h("input", { type: "number", min: "20", max: "10000", value: String(SHIFTS) });
  const baseline = h("input", { type: "checkbox", checked: true });
  const probe = h("input", { type: "checkbox" });
  const problem = h("p", { class: "bad-text", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Run the hunt");

  function drawOwn() {
    show(chips, [...own].map(([called, text]) => h("li", {},
      h("span", {}, `${visible(called)}: `, h("code", {}, visible(text))),
      h("button", {
        type: "button", class: "quiet small", "aria-label": `Leave out ${called}`,
        onclick: () => own.delete(called) && drawOwn(),
      }, "\u00d7"))));
  }

  function add() {
    if (!pattern.value) return;
    own.set(name.value.trim() || `pattern_${own.size + 1}`, pattern.value);
    pattern.value = "";
    name.value = "";
    drawOwn();
  }

  function send(event) {
    event.preventDefault();
    add();
    const only = boxes.filter(([, box]) => box.checked).map(([each]) => each.name);
    if (!only.length && !own.size) {
      show(problem, "Choose at least one hypothesis, or write a pattern.");
      return;
    }
    show(problem);
    const usual = boxes.every(([each, box]) => box.checked === Boolean(each.suggested));
    submit(writePlan({
      only: usual ? undefined : only,
      own: own.size ? Object.fromEntries(own) : undefined,
      shifts: Number(shifts.value) === SHIFTS ? undefined : Number(shifts.value),
      alone: baseline.checked ? undefined : 1,
      probe: probe.checked ? 1 : undefined,
    }));
  }

  const all = (wanted) => boxes.forEach(([each, box]) => (box.checked = wanted(each)));
  const element = h(
    "details",
    { class: "card hunt-form", open: true },
    h("summary", {}, "What to look for"),
    h(
      "form",
      { novalidate: true, onsubmit: send },
      h("fieldset", { class: "checks grid" },
        h("legend", { class: "visually-hidden" }, "Hypotheses"),
        boxes.map(([each, box]) => h("label", { title: each.description ?? "" }, box, h("span", {}, each.title, " ",
          h("small", {}, each.kind === "graded" ? "graded" : whole(each.positives)))))),
      h("div", { class: "row-of" },
        h("button", { type: "button", class: "quiet small", onclick: () => all((each) => each.suggested) },
          "those that suit the text"),
        h("button", { type: "button", class: "quiet small", onclick: () => all(() => true) }, "all"),
        h("button", { type: "button", class: "quiet small", onclick: () => all(() => false) }, "none")),
      h("fieldset", { class: "row-of" },
        h("legend", {}, "A hypothesis of your own: where a regular expression matches"),
        name, pattern, h("button", { type: "button", onclick: add }, "Add")),
      chips,
      h("div", { class: "row-of" },
        h("label", { class: "inline" }, "Shifts for the null", shifts),
        h("label", { class: "inline" }, baseline, "beside the untrained network"),
        h("label", { class: "inline" }, probe, "with linear probes"),
        h("span", { class: "spring" }), button),
      problem,
    ),
  );

  return {
    element,
    busy(yes) {
      button.disabled = yes;
    },
    set(text) {
      const plan = parsed(text);
      all((each) => (Array.isArray(plan.only) ? plan.only.includes(each.name) : each.suggested));
      own.clear();
      for (const [called, each] of Object.entries(plan.own ?? {})) own.set(called, String(each));
      drawOwn();
      shifts.value = plan.shifts ?? SHIFTS;
      baseline.checked = !plan.alone;
      probe.checked = Boolean(plan.probe);
    },
  };
}
