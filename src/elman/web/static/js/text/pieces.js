// Pieces of a text that tell about themselves: under the pointer, and at a cursor that the arrow keys move.

import { tip, untip } from "../charts/tooltip.js";

export class Pieces {
  /**
   * `element` holds the pieces and can be focused; `describe(place)` gives the nodes of the box beside a piece, and
   * `speak(place)`, if given, says it to a screen reader where the cursor is moved by key.
   */
  constructor(element, describe, speak = () => {}) {
    this.element = element;
    this.describe = describe;
    this.clear();
    element.addEventListener("pointerover", (event) => {
      const place = this.places.get(event.target);
      if (place === undefined) untip();
      else this.tell(place);
    });
    element.addEventListener("pointerleave", untip);
    element.addEventListener("blur", untip);
    element.addEventListener("keydown", (event) => {
      const along = getComputedStyle(element).direction === "rtl" ? -1 : 1;
      const by = { ArrowLeft: -along, ArrowRight: along }[event.key];
      if (!by || !this.elements.length || event.altKey || event.ctrlKey || event.metaKey) return;
      const place = Math.max(0, Math.min(this.elements.length - 1, this.at + by));
      this._mark(place);
      this.elements[place].scrollIntoView({ block: "nearest" });
      // scrolling takes the box away, and is told of before the next frame
      requestAnimationFrame(() => this.at === place && this.tell(place));
      speak(place);
      event.preventDefault();
    });
  }

  clear() {
    this.elements = [];
    this.places = new Map();
    this.at = -1;
    untip();
  }

  /** More pieces, behind those that there are. */
  add(elements) {
    for (const element of elements) {
      this.places.set(element, this.elements.length);
      this.elements.push(element);
    }
  }

  _mark(place) {
    this.elements[this.at]?.classList.remove("here");
    this.elements[place].classList.add("here");
    this.at = place;
  }

  /** Shows what there is to tell about a piece. */
  tell(place) {
    this._mark(place);
    const rectangle = this.elements[place].getClientRects()[0] ?? this.element.getBoundingClientRect();
    tip(rectangle, ...this.describe(place));
  }
}
