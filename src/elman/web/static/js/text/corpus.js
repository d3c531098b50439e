// One recording in the browser: its text, which token each character belongs to, and the arrays asked for so far.

import { array, get, path, remembering, text } from "../core/api.js";
import { TextModel } from "./model.js";

const CHUNK = 256; // tokens of a piece of the table of likeliest next symbols
const CELLS = 10; // arrays of one cell that are kept, a byte a token each

export class Corpus {
  constructor(id, manifest, model, offsets) {
    this.id = id;
    this.manifest = manifest;
    this.model = model;
    this.length = manifest.length;
    this.cells = manifest.cells;
    this.groups = manifest.groups;
    this.offsets = offsets;
    this.tokenOf = offsets ? tokensOf(offsets, model.length) : null;
    this._cells = remembering(CELLS);
    this._others = remembering(6);
    this._summaries = remembering(64);
    this._tops = remembering(32);
  }

  static async open(id, signal) {
    const [manifest, whole] = await Promise.all([
      get(path`recordings/${id}`, signal),
      text(path`recordings/${id}/text`, signal),
    ]);
    const model = new TextModel(whole);
    let offsets = null;
    if (manifest.length !== model.length) {
      offsets = await array(path`recordings/${id}/offsets`, signal);
    }
    return new Corpus(id, manifest, model, offsets);
  }

  /** The values of a cell, int8 a token. */
  cell(index) {
    return this._cells(index, () => array(path`recordings/${this.id}/cells/${index}`));
  }

  nats() {
    return this._others("nats", () => array(path`recordings/${this.id}/nats`));
  }

  /** Where a binary label is on: 1 a token, else 0. `pattern` belongs to a hypothesis of the user's own. */
  labels(name, pattern) {
    const where = path`recordings/${this.id}/labels/${name}` + (pattern ? `?regex=${encodeURIComponent(pattern)}` : "");
    return this._others(where, async () => {
      const labels = await array(where);
      return labels instanceof Uint8Array ? labels.map((value) => (value === 1 ? 1 : 0)) : null;
    });
  }

  /** A cell in figures, beside a label where one is named. */
  summary(index, name, pattern) {
    const query = new URLSearchParams();
    if (name) query.set("hypothesis", name);
    if (name && pattern) query.set("regex", pattern);
    const where = `${path`recordings/${this.id}/cells/${index}/summary`}?${query}`;
    return this._summaries(where, () => get(where));
  }

  /** The hypotheses that the server knows for this text. */
  hypotheses() {
    return get(path`recordings/${this.id}/hypotheses`);
  }

  /** The five likeliest symbols after token t was read: [[name, probability], ...]. */
  async top(t) {
    const begin = Math.floor(t / CHUNK) * CHUNK;
    const end = Math.min(this.length, begin + CHUNK);
    const where = path`recordings/${this.id}/top?begin=${begin}&end=${end}`;
    const piece = await this._tops(begin, () => get(where));
    const at = t - piece.begin;
    return piece.ids[at].map((id, k) => [piece.symbols[id] ?? `#${id}`, Math.exp(piece.logprobs[at][k])]);
  }

  /** Group and unit of a cell. */
  locate(index) {
    const group = this.groups.find((each) => index >= each.first && index < each.first + each.count);
    return group ? { group, unit: index - group.first } : null;
  }

  describe(index) {
    const found = this.locate(index);
    return found ? `layer ${found.group.layer} ${found.group.name}[${found.unit}]` : `cell ${index}`;
  }

  /** The number of a cell by place, or null: "1:c:17". */
  find(layer, name, unit) {
    const group = this.groups.find((each) => each.layer === layer && each.name === name && unit >= 0
      && unit < each.count);
    return group ? group.first + unit : null;
  }

  /** {layer, name, unit} of a cell, as the server takes it. */
  place(index) {
    const { group, unit } = this.locate(index);
    return { layer: group.layer, name: group.name, unit };
  }

  token(position) {
    return this.tokenOf ? this.tokenOf[position] : position;
  }

  /** First character of a token, and the first one behind it. */
  characters(t) {
    if (!this.offsets) return [t, t + 1];
    const end = t + 1 < this.offsets.length ? this.offsets[t + 1] : this.model.length;
    return [this.offsets[t], Math.max(end, this.offsets[t] + 1)];
  }

  /** The text of a token. */
  piece(t) {
    return this.model.slice(...this.characters(t));
  }
}

/** The token of every character: the last one that starts at or before it; -1 before the first. */
function tokensOf(offsets, length) {
  const tokenOf = new Int32Array(length).fill(-1);
  for (let t = 0; t < offsets.length; t += 1) {
    const end = t + 1 < offsets.length ? offsets[t + 1] : length;
    tokenOf.fill(t, offsets[t], end);
  }
  return tokenOf;
}
