// A text while it is written: each symbol shaded by its probability, and what else it might have been.

import { likeliest } from "../charts/kinds.js";
import { tip, untip } from "../charts/tooltip.js";
import { surprise, surpriseLevel } from "../core/colour.js";
import { h, show } from "../core/dom.js";
import { fixed, isHidden, visible } from "../core/format.js";
import { theme } from "../core/theme.js";

/** A symbol as it is printed: only what has no shape or turns the line is replaced. */
function printed(text) {
  return Array.from(text, (character) => {
    const code = character.codePointAt(0);
    const control = (code < 0x20 && code !== 10 && code !== 9) || code === 0x7f;
    return control || isHidden(code) ? visible(character) : character;
  }).join("");
}

export class Written {
  /** `most`: nats of a uniform guess, which has the strongest colour. */
  constructor(most, label = "The text that the model writes") {
    this.most = most;
    this.tokens = [];
    this.waiting = [];
    this.frame = 0;
    this.at = -1;
    this.element = h("div", { class: "written", tabindex: "0", role: "log", "aria-live": "off", "aria-label": label });
    const over = (event) => {
      const place = this.tokens.findIndex((token) => token.element === event.target);
      if (place >= 0) this.tell(place);
    };
    this.element.addEventListener("pointerover", over);
    this.element.addEventListener("pointerleave", untip);
    this.element.addEventListener("blur", untip);
    this.element.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || !this.tokens.length) return;
      this.tell(Math.max(0, Math.min(this.tokens.length - 1, this.at + by)));
      event.preventDefault();
    });
  }

  clear() {
    this.tokens = [];
    this.waiting = [];
    this.at = -1;
    show(this.element);
  }

  /** A token of the stream: {text, logprob, top}. */
  add(token) {
    this.waiting.push(token);
    if (!this.frame) this.frame = requestAnimationFrame(() => this._flush());
  }

  _flush() {
    this.frame = 0;
    const pinned = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 30;
    const nodes = this.waiting.map((token) => {
      token.element = h("span", {}, printed(token.text));
      this._shade(token);
      this.tokens.push(token);
      return token.element;
    });
    this.waiting = [];
    this.element.append(...nodes);
    if (pinned) this.element.scrollTop = this.element.scrollHeight;
  }

  _shade(token) {
    const palette = surprise(theme());
    const level = surpriseLevel(-token.logprob, this.most);
    token.element.style.backgroundColor = palette.css[level];
    token.element.style.color = palette.white[level] ? "#fff" : "#000";
  }

  recolour() {
    for (const token of this.tokens) this._shade(token);
  }

  /** Shows the alternatives of a token. */
  tell(place) {
    this.tokens[this.at]?.element.classList.remove("here");
    this.at = place;
    const token = this.tokens[place];
    token.element.classList.add("here");
    const rectangle = token.element.getClientRects()[0] ?? this.element.getBoundingClientRect();
    tip(rectangle,
      h("p", { class: "tip-head" }, h("b", { class: "symbol" }, visible(token.text)),
        h("span", {}, `p ${fixed(Math.exp(token.logprob), 3)}`)),
      likeliest(token.top ?? [], token.symbol ?? token.text));
  }

  close() {
    cancelAnimationFrame(this.frame);
    untip();
  }
}
