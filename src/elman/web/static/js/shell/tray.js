// The pinned cells, at the foot of every screen that has a recording.

import { link, pinsOf } from "../core/address.js";
import { path } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { save } from "../charts/save.js";

const host = document.getElementById("tray");

/** Draws the tray for a view. */
export function drawTray(context, view) {
  const { corpus } = context;
  const pins = corpus ? pinsOf(view).filter((cell) => cell < corpus.cells) : [];
  host.hidden = pins.length === 0;
  document.body.classList.toggle("with-tray", !host.hidden);
  if (host.hidden) return show(host);
  const query = `cells=${pins.join(",")}`;
  return show(
    host,
    h("span", { class: "tray-name" }, "Pinned"),
    h(
      "ul",
      {},
      pins.map((cell) => {
        const shown = view.screen === "cell" && Number(view.cell) === cell;
        const name = corpus.describe(cell);
        return h(
          "li",
          { class: shown ? "current" : null },
          h("a", { href: link({ screen: "cell", cell }), "aria-current": shown ? "true" : null }, name),
          h("button", {
            type: "button", class: "quiet small", "aria-label": `Unpin ${name}`, title: "Unpin",
            onclick: () => context.togglePin(cell),
          }, "\u00d7"),
        );
      }),
    ),
    h("button", {
      type: "button", class: "quiet small", title: "Values of the pinned cells at every position",
      onclick: () => save(`/api/${path`recordings/${corpus.id}/export.csv`}?${query}`, ""),
    }, "CSV"),
  );
}
