"use strict";
// Colours the text by one cell at a time. A line is painted when it comes into sight, so that a long text opens at once.
const data = JSON.parse(document.getElementById("data").textContent);
const holder = document.getElementById("text");
const text = holder.textContent;
const bytes = (packed) => Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
const values = data.cells.map((cell) => new Int8Array(bytes(cell.values).buffer));
const nats = new Uint16Array(bytes(data.nats).buffer);
const label = data.label && bytes(data.label);
const dark = matchMedia("(prefers-color-scheme: dark)");
const POSITIVE = [33, 102, 172], NEGATIVE = [214, 96, 4];
let chosen = 0;

// the first UTF-16 unit of every token
const starts = new Uint32Array(nats.length + 1);
for (let token = 0; token < nats.length; token++) {
  starts[token + 1] = starts[token] + (data.lengths ? data.lengths[token] : 1);
}

// lines as [first token, token after the last]
const lines = [];
for (let token = 0, first = 0; token < nats.length; token++) {
  if (text.slice(starts[token], starts[token + 1]).includes("\n") || token === nats.length - 1) {
    lines.push([first, token + 1]);
    first = token + 1;
  }
}

function luminance(colour) {
  const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// a colour for each level: the ground at zero, one hue on either side, and the ink that reads better on it
function palette() {
  const ground = dark.matches ? [20, 22, 26] : [255, 255, 255];
  return Array.from({ length: 256 }, (_, level) => {
    const share = Math.min(1, Math.abs(level - 128) / 127);
    const hue = level > 128 ? POSITIVE : NEGATIVE;
    const mixed = ground.map((part, channel) => Math.round(part + (hue[channel] - part) * share));
    return { back: `rgb(${mixed.join(" ")})`, ink: luminance(mixed) > 0.179 ? "#000" : "#fff" };
  });
}

let colours = palette();

function paint(element) {
  const [first, end] = lines[element.dataset.line];
  const made = document.createDocumentFragment();
  for (let token = first; token < end; ) {
    const value = values[chosen][token], on = label ? label[token] : 0;
    let last = token + 1;
    while (last < end && values[chosen][last] === value && (label ? label[last] : 0) === on) last++;
    const span = document.createElement("span");
    span.textContent = text.slice(starts[token], starts[last]);
    span.dataset.token = token;
    if (value) {
      span.style.backgroundColor = colours[value + 128].back;
      span.style.color = colours[value + 128].ink;
    }
    if (on) span.className = "on";
    made.append(span);
    token = last;
  }
  element.replaceChildren(made);
}

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.dataset.seen = isIntersecting ? "1" : "";
    if (isIntersecting && target.dataset.painted !== String(chosen)) {
      paint(target);
      target.dataset.painted = chosen;
    }
  }
}, { rootMargin: "600px" });

const elements = lines.map(([first, end], number) => {
  const element = document.createElement("div");
  element.className = "line";
  element.dataset.line = number;
  element.textContent = text.slice(starts[first], starts[end]);
  return element;
});
holder.replaceChildren(...elements);
elements.forEach((element) => sight.observe(element));

function repaint() {
  colours = palette();
  for (const element of elements) {
    element.dataset.painted = "";
    if (element.dataset.seen) {
      paint(element);
      element.dataset.painted = chosen;
    }
  }
}

const buttons = data.cells.map((cell, number) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = cell.name;
  button.setAttribute("role", "radio");
  button.addEventListener("click", () => choose(number));
  return button;
});
document.getElementById("cells").append(...buttons);

function choose(number) {
  chosen = (number + buttons.length) % buttons.length;
  buttons.forEach((button, each) => {
    button.setAttribute("aria-checked", String(each === chosen));
    button.tabIndex = each === chosen ? 0 : -1;
  });
  repaint();
}

document.getElementById("cells").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    choose(chosen + step);
    buttons[chosen].focus();
  }
});
dark.addEventListener("change", repaint);
choose(0);

// which token is under the pointer: the run's first, and so many units further
function tokenAt(event) {
  const span = event.target.closest("[data-token]");
  if (!span) return -1;
  let token = Number(span.dataset.token);
  const place = document.caretPositionFromPoint
    ? document.caretPositionFromPoint(event.clientX, event.clientY)
    : document.caretRangeFromPoint && document.caretRangeFromPoint(event.clientX, event.clientY);
  const node = place && (place.offsetNode || place.startContainer);
  if (!node || node.parentNode !== span) return token;
  let unit = starts[token] + (place.offset ?? place.startOffset);
  // the caret goes to the nearer side of a letter: step back where it went past the pointer
  const range = document.createRange();
  const offset = unit - starts[token];
  if (offset > 0) {
    range.setStart(node, offset - 1);
    range.setEnd(node, offset);
    const box = range.getBoundingClientRect();
    if (event.clientX < box.right && event.clientX >= box.left && event.clientY <= box.bottom) unit -= 1;
  }
  while (token + 1 < nats.length && starts[token + 1] <= unit) token++;
  return token;
}

const hint = document.getElementById("hint");
holder.addEventListener("pointermove", (event) => {
  const token = tokenAt(event);
  if (token < 0) return;
  const piece = JSON.stringify(text.slice(starts[token], starts[token + 1]));
  const told = data.cells.map((cell, number) => {
    const value = (values[number][token] / 127).toFixed(2);
    return `${cell.name} ${cell.transform === "tanh" ? "tanh " : ""}${value}`;
  });
  const surprise = nats[token] === 65535 ? "" : `, ${(nats[token] / 100).toFixed(2)} nats`;
  const known = label ? `, ${label[token] ? "" : "not "}${data.hypothesis}` : "";
  hint.textContent = `${data.begin + token} ${piece}: ${told.join(", ")}${surprise}${known}`;
});
