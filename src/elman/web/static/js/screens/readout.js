// What is under the pointer or the cursor of a text: symbol, value, surprise, the five likeliest next symbols.

import { likeliest } from "../charts/kinds.js";
import { tip, untip } from "../charts/tooltip.js";
import { h, settled, show } from "../core/dom.js";
import { fixed, visible, whole } from "../core/format.js";

/** Shows and speaks about one token; `cells()` names those whose values are told. */
export class Readout {
  constructor(context, corpus, cells) {
    this.context = context;
    this.corpus = corpus;
    this.cells = cells;
    this.asked = 0;
    this.later = settled((t, rectangle) => this._fetch(t, rectangle), 40);
    this.speak = settled((t) => this._speak(t), 250);
  }

  async _facts(t) {
    const { corpus } = this;
    const cells = this.cells();
    const [nats, ...values] = await Promise.all([corpus.nats(), ...cells.map((cell) => corpus.cell(cell))]);
    return { nats: nats[t], values: cells.map((cell, k) => [corpus.describe(cell), values[k][t] / 127]) };
  }

  /** Under the pointer: a box beside the rectangle. */
  hover(position, rectangle) {
    this.asked += 1;
    if (position === null) {
      this.later();
      untip();
      return;
    }
    const t = this.corpus.token(position);
    if (t >= 0) this.later(t, rectangle);
  }

  async _fetch(t, rectangle) {
    if (t === undefined) return;
    const mine = this.asked;
    const nodes = await this.nodes(t).catch(() => null);
    if (mine === this.asked && nodes) tip(rectangle, ...nodes);
  }

  /** The description of a token as nodes. */
  async nodes(t) {
    const { corpus } = this;
    const [facts, top] = await Promise.all([this._facts(t), corpus.top(t)]);
    const next = t + 1 < corpus.length ? corpus.piece(t + 1) : null;
    return [
      h("p", { class: "tip-head" }, h("b", { class: "symbol" }, visible(corpus.piece(t))),
        h("span", {}, `at ${whole(t)}`)),
      h("p", {}, Number.isFinite(facts.nats)
        ? `surprise ${fixed(facts.nats, 2)} nats, p ${fixed(Math.exp(-facts.nats), 3)}` : "was not predicted"),
      facts.values.map(([name, value]) => h("p", {}, name, " ", h("b", {}, fixed(value, 2)))),
      h("p", { class: "tip-label" }, "likeliest next"),
      likeliest(top, next),
    ];
  }

  /** At the cursor: into a panel, and to a screen reader. */
  async cursor(t, panel) {
    this.speak(t);
    const nodes = await this.nodes(t).catch((error) => [h("p", { class: "bad-text" }, error.message)]);
    show(panel, ...nodes);
  }

  async _speak(t) {
    const facts = await this._facts(t);
    const values = facts.values.map(([name, value]) => `${name} ${fixed(value, 2)}`).join(", ");
    const surprise = Number.isFinite(facts.nats) ? `surprise ${fixed(facts.nats, 2)} nats` : "not predicted";
    this.context.announce(`${visible(this.corpus.piece(t))}: ${values}${values ? ", " : ""}${surprise}`);
  }
}
