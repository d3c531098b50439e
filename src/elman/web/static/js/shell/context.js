// What every screen is given: the run, its recording, and ways to speak to the reader.

import * as address from "../core/address.js";
import { get, path, remembering } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { Corpus } from "../text/corpus.js";

const announcer = document.getElementById("announcer");
let runsKept = remembering(8);
const corporaKept = remembering(1); // another text takes megabytes, so the last one goes

export const context = {
  runs: [],
  run: null,
  corpus: null,
  hunts: new Map(),

  get view() {
    return address.current();
  },

  go: address.go,
  link: address.link,

  /** Says something to a screen reader. */
  announce(text) {
    announcer.textContent = text;
  },

  /** A cell under the pins or away from them; eight at most. */
  togglePin(cell) {
    const pins = address.pinsOf(this.view);
    const next = pins.includes(cell) ? pins.filter((pin) => pin !== cell) : [...pins, cell];
    if (next.length > 8) {
      this.announce("Eight cells are pinned already; unpin one first.");
      return;
    }
    address.go({ pins: next.join(",") }, { replace: true });
    this.announce(`${this.corpus?.describe(cell) ?? `cell ${cell}`} ${next.includes(cell) ? "pinned" : "unpinned"}`);
  },

  async loadRuns() {
    this.runs = await get("runs");
    return this.runs;
  },

  async loadRun(id) {
    this.run = await runsKept(id, () => get(path`runs/${id}`));
    return this.run;
  },

  /** Reads a run's description again, after a recording was made. */
  async refreshRun(id) {
    runsKept = remembering(8);
    return this.loadRun(id);
  },

  async loadCorpus(id) {
    this.corpus = await corporaKept(id, () => Corpus.open(id));
    return this.corpus;
  },
};

/** An error as a notice that a screen reader speaks at once. */
export function notice(error, again) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", {}, error?.message ?? String(error)),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

/** Runs `work`; what it throws stands in `host`, unless it was called off. */
export async function guarded(host, work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") show(host, notice(error));
    return undefined;
  }
}
