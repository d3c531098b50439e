// Keys of the page, and the box that lists them.

import { h, show } from "../core/dom.js";

const EVERYWHERE = [
  ["?", "this list"],
  ["g then r h c t l p", "go to runs, hypotheses, cell, text, lab, playground"],
  ["g then s d e", "go to gates (saturation), gradients, errors"],
  ["g then w a i", "go to words, alignment, captions of images"],
  ["d", "dark or light"],
  ["Esc", "close, or give up the brush"],
];
const GOES = { r: "runs", h: "hypotheses", c: "cell", t: "text", l: "lab", p: "playground", s: "gates", d: "gradients",
  e: "errors", w: "words", a: "alignment", i: "captions" };

let dialog = null;
let screenKeys = [];
let handlers = {};

/** The keys of the screen now open: [[key, what it does, handler?], ...]. */
export function setKeys(list) {
  screenKeys = list ?? [];
  handlers = Object.fromEntries(screenKeys.filter((entry) => entry[2]).map(([key, , action]) => [key, action]));
}

/** Shows the list of keys. */
export function help() {
  if (!dialog) {
    dialog = h("dialog", { class: "help", "aria-label": "Keys" });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
  }
  const listed = (entries) =>
    h("dl", {}, entries.map(([key, what]) =>
      [h("dt", {}, key.split(" ").map((part) => (part === "then" ? " then " : h("kbd", {}, part)))),
        h("dd", {}, what)]));
  show(
    dialog,
    h("h2", {}, "Keys"),
    listed(EVERYWHERE),
    screenKeys.length ? [h("h3", {}, "On this screen"), listed(screenKeys)] : null,
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")),
  );
  dialog.showModal();
}

/** Listens for keys; `go(screen)` changes the screen, `turn()` the theme. */
export function listenKeys(go, turn) {
  let pending = false;
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (pending) {
      pending = false;
      if (GOES[event.key]) {
        go(GOES[event.key]);
        event.preventDefault();
      }
      return;
    }
    if (event.key === "?") help();
    else if (event.key === "g") {
      pending = true;
      setTimeout(() => (pending = false), 1200);
    } else if (event.key === "d") turn();
    else if (handlers[event.key]) handlers[event.key](event);
    else return;
    event.preventDefault();
  });
}
