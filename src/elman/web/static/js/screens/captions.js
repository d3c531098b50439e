// Captions: an image is dropped, captions appear with their log-probabilities, and each word shows where it looked.

import { get, path, post } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { fixed, printed, visible, whole } from "../core/format.js";
import { notice } from "../shell/context.js";
import { table } from "../shell/table.js";

const LARGEST = 5_500_000; // bytes of a file: in base64 it fits a request
const SIDE = 448; // pixels of the picture on the page
const DIM = 0.2; // what is not looked at keeps so much of its light

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** The square in the middle of an image, which is what the encoder reads; `share` is its part of the shorter side. */
function paint(canvas, bitmap, share) {
  const side = share * Math.min(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  // what is transparent is white to the encoder
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, SIDE, SIDE);
  pen.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  return pen;
}

/** Darkens what was not looked at: light between the places of the grid is interpolated. */
function shade(pen, weights) {
  const rows = weights.length, columns = weights[0].length;
  const most = Math.max(...weights.flat());
  const small = h("canvas", { width: columns, height: rows });
  const dots = small.getContext("2d");
  const veil = dots.createImageData(columns, rows);
  weights.flat().forEach((weight, at) => {
    veil.data[4 * at + 3] = Math.round(255 * (1 - DIM) * (1 - weight / most));
  });
  dots.putImageData(veil, 0, 0);
  pen.drawImage(small, 0, 0, SIDE, SIDE);
}

export function open(context) {
  const { run } = context;
  const file = h("input", { type: "file", accept: "image/*", "aria-label": "Image" });
  const beam = h("input", { type: "number", value: "5", min: "1", max: "16", step: "1",
    title: "Captions that are kept at every step; 1 is greedy" });
  const normalisation = h("input", { type: "number", value: "0.7", min: "0", max: "2", step: "0.1",
    title: "0 ranks by probability, towards 1 favours longer captions" });
  const tag = h("select", { "aria-label": "Language" });
  const tagged = h("label", { hidden: true }, "Language", tag);
  const problem = h("div", {});
  const written = h("div", {});
  const words = h("div", { class: "row-of", role: "group", "aria-label": "Words" });
  const canvas = h("canvas", { class: "picture", width: SIDE, height: SIDE, role: "img", hidden: true,
    "aria-label": "The image as the encoder reads it" });
  const told = h("p", { class: "note", "aria-live": "polite" });
  const life = new AbortController(); // of what listens while this screen is open
  let asked = null;
  let taken = 0; // counts the images: one that is read later than the next is dropped
  let image = null; // {bitmap, content}
  let about = null; // promises {tags, attention, share}; the model is opened for it, which may take a while

  function look(caption, at) {
    const pen = paint(canvas, image.bitmap, image.share);
    const chosen = at !== null;
    if (chosen && caption.weights) shade(pen, caption.weights[at]);
    [...words.children].forEach((button, place) => button.setAttribute("aria-pressed", String(place === at)));
    const where = caption.weights ? "Bright is where it looked." : "This model has no attention: it saw the whole at once.";
    show(told, chosen
      ? `${visible(caption.symbols[at])}: log p ${fixed(caption.token_logprobs[at], 2)} nats. ${where}`
      : `log p ${fixed(caption.logprob, 2)} nats in all, by ${caption.symbols.length} symbols. Choose a word.`);
  }

  function spell(caption) {
    show(words, caption.symbols.map((symbol, at) => h("button",
      { type: "button", "aria-pressed": "false", title: `log p ${fixed(caption.token_logprobs[at], 2)} nats`,
        onclick: () => look(caption, at), onfocus: () => look(caption, at), onmouseenter: () => look(caption, at) },
      visible(symbol))));
    look(caption, null);
  }

  function listed(captions) {
    return table(
      [
        { id: "text", title: "Caption", value: (row) => row.text,
          cell: (row) => h("button", { type: "button", class: "plain", title: "Show its words", onclick: () => spell(row) },
            printed(row.text) || "(empty)") },
        { id: "logprob", title: "log p", hint: "Nats, of the whole caption", number: true, best: "high",
          value: (row) => row.logprob, cell: (row) => fixed(row.logprob, 2) },
        { id: "score", title: "ranked by", hint: "log p divided by the length penalty", number: true, best: "high",
          value: (row) => row.score, cell: (row) => fixed(row.score, 3) },
      ],
      captions,
      { caption: "Captions, best first" },
    );
  }

  async function take(chosen) {
    if (!chosen) return;
    taken += 1;
    const mine = taken;
    show(problem);
    try {
      if (chosen.size > LARGEST) {
        throw new Error(`The file has ${whole(chosen.size)} bytes; at most ${whole(LARGEST)} can be sent.`);
      }
      const bytes = new Uint8Array(await chosen.arrayBuffer());
      const bitmap = await createImageBitmap(chosen).catch(() => null);
      const { share } = await known();
      if (mine !== taken) return;
      if (!bitmap) throw new Error("The browser cannot read this file as an image.");
      image?.bitmap.close();
      image = { bitmap, share, content: base64(bytes) };
      canvas.hidden = false;
      paint(canvas, bitmap, share);
      show(written);
      show(words);
      await ask();
    } catch (error) {
      if (mine !== taken || error.name === "AbortError") return;
      const again = error.status === undefined ? null : () => take(chosen); // the file itself does not change
      show(problem, notice(error, again));
    }
  }

  async function ask() {
    if (!image) {
      show(problem, notice(new Error("Choose an image first.")));
      return;
    }
    asked?.abort();
    const mine = new AbortController();
    asked = mine;
    show(problem);
    show(told, "Writing captions\u2026");
    try {
      const width = Number(beam.value);
      const { captions } = await post(path`runs/${run.id}/captions`,
        { image: image.content, beam: width, n_best: Math.min(5, width), normalisation: Number(normalisation.value),
          tag: tag.value },
        mine.signal);
      show(written, listed(captions));
      context.announce(captions[0].text);
      spell(captions[0]);
    } catch (error) {
      if (error.name === "AbortError") return;
      show(told);
      show(problem, notice(error, ask));
    }
  }

  /** What the server says of this captioner, asked for once. */
  function known() {
    about ??= get(path`runs/${run.id}/captions`, life.signal).then((found) => {
      show(tag, found.tags.map((name) => h("option", { value: name }, name)));
      tagged.hidden = found.tags.length === 0;
      return found;
    });
    about.catch(() => (about = null));
    return about;
  }

  async function begin() {
    try {
      await known();
    } catch (error) {
      if (error.name !== "AbortError") show(problem, notice(error, begin));
    }
  }

  file.addEventListener("change", () => take(file.files[0]));
  for (const input of [beam, normalisation, tag]) input.addEventListener("change", () => image && ask());
  const target = h("section", { class: "card stack", "aria-label": "The image" },
    h("p", { class: "note" }, "Drop an image here, or choose one."), canvas, words, told);
  // a file that is dropped beside the card would otherwise take the page away
  addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("aimed");
  }, { signal: life.signal });
  addEventListener("dragleave", (event) => event.relatedTarget || target.classList.remove("aimed"),
    { signal: life.signal });
  addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("aimed");
    take(event.dataTransfer.files[0]);
  }, { signal: life.signal });
  let begun = false;
  return {
    element: h(
      "div",
      { class: "page" },
      h("h1", {}, "Captions"),
      h(
        "div",
        { class: "columns two" },
        h("form", { class: "stack", novalidate: true, onsubmit: (event) => { event.preventDefault(); ask(); } },
          h("label", { class: "broad" }, "Image", file),
          h("div", { class: "row-of controls" }, h("label", {}, "Beam", beam),
            h("label", {}, "Length normalisation", normalisation), tagged),
          h("div", { class: "row-of" }, h("button", { type: "submit", class: "primary" }, "Caption")),
          problem, written),
        target,
      ),
    ),
    update() {
      if (begun) return;
      begun = true;
      begin();
    },
    close() {
      life.abort();
      asked?.abort();
      image?.bitmap.close();
    },
  };
}
