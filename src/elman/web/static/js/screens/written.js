// A text while it is written: each symbol shaded by its probability, and what else it might have been.

import { likeliest } from "../charts/kinds.js";
import { surprise, surpriseLevel } from "../core/colour.js";
import { h, show } from "../core/dom.js";
import { fixed, printed, visible } from "../core/format.js";
import { theme } from "../core/theme.js";
import { Pieces } from "../text/pieces.js";

export class Written {
  /** `most`: nats of a uniform guess, which has the strongest colour. */
  constructor(most, label = "The text that the model writes") {
    this.most = most;
    this.tokens = [];
    this.waiting = [];
    this.frame = 0;
    this.element = h("div", { class: "written", tabindex: "0", role: "log", "aria-live": "off", "aria-label": label });
    this.pieces = new Pieces(this.element, (place) => this._alternatives(this.tokens[place]));
  }

  clear() {
    this.tokens = [];
    this.waiting = [];
    this.pieces.clear();
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
    this.pieces.add(nodes);
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

  /** What else a token might have been. */
  _alternatives(token) {
    return [
      h("p", { class: "tip-head" }, h("b", { class: "symbol" }, visible(token.text)),
        h("span", {}, `p ${fixed(Math.exp(token.logprob), 3)}`)),
      likeliest(token.top ?? [], token.symbol ?? token.text),
    ];
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.pieces.clear();
  }
}
