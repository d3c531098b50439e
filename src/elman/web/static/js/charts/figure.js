// A figure: drawn anew at every width and theme, described for those who do not see it, and given away as SVG or PNG.

import { h, settled, show } from "../core/dom.js";
import { onTheme } from "../core/theme.js";
import { savePng, saveSvg } from "./save.js";

/**
 * A figure with a title and its export.
 *
 * `draw(width)` returns an SVG element; `options`: {title, note, name (of the file), large}. The element has
 * `.redraw()`; the figure stops observing once it has left the page.
 */
export function figure(draw, options) {
  const body = h("div", { class: "figure-body" });
  const save = (kind, action) => h(
    "button",
    {
      type: "button", class: "quiet small", title: `Save this figure as ${kind}`,
      "aria-label": `Save ${options.title} as ${kind}`,
      onclick: () => body.querySelector("svg") && action(body.querySelector("svg"), options.name),
    },
    kind,
  );
  const note = h("p", { class: "note" }, options.note ?? "");
  const element = h(
    "figure",
    { class: options.large ? "figure large" : "figure" },
    h("figcaption", {}, h("h3", {}, options.title),
      h("span", { class: "saves" }, save("SVG", saveSvg), save("PNG", savePng))),
    body,
    note,
  );
  let width = 0;
  const redraw = () => {
    width = Math.floor(body.clientWidth);
    if (width > 40) show(body, draw(width));
  };
  const later = settled(() => Math.floor(body.clientWidth) !== width && redraw(), 60);
  const observer = new ResizeObserver(() => {
    if (!element.isConnected) {
      observer.disconnect();
      stop();
    } else if (width === 0) redraw();
    else later();
  });
  observer.observe(body);
  const stop = onTheme(() => (element.isConnected ? redraw() : stop()));
  element.redraw = redraw;
  element.note = (text) => show(note, text);
  return element;
}
