// One box that says what is under the pointer.

import { h, show } from "../core/dom.js";

const box = h("div", { class: "tooltip", "aria-hidden": "true", hidden: true });

/** Shows nodes or texts beside a rectangle of the page ({left, top, right, bottom}), within the window. */
export function tip(rectangle, ...content) {
  if (!box.isConnected) document.body.append(box);
  show(box, ...content);
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const left = Math.max(6, Math.min(innerWidth - width - 6, rectangle.left));
  const below = rectangle.bottom + 8;
  const top = below + height < innerHeight ? below : Math.max(6, rectangle.top - height - 8);
  box.style.left = `${left}px`;
  box.style.top = `${top}px`;
}

/** Takes the box away. */
export function untip() {
  box.hidden = true;
}

/** Makes an SVG or HTML element tell `content()` under the pointer. */
export function tipped(element, content) {
  element.addEventListener("pointerenter", () => tip(element.getBoundingClientRect(), content()));
  element.addEventListener("pointerleave", untip);
  return element;
}

addEventListener("hashchange", untip);
addEventListener("popstate", untip);
addEventListener("scroll", untip, { capture: true, passive: true });
