// Elements from values. Text only ever becomes text nodes and attributes, so nothing from the server is markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "checked") element.checked = Boolean(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Appends nodes, texts and nested lists of them; null, undefined and false are left out. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** An HTML element: `h("a", {href: "#/runs", onclick: f}, "Runs")`. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, the same way. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Replaces what an element holds. */
export function show(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Calls `action` at most once a frame, with the last arguments. */
export function eachFrame(action) {
  let waiting = null;
  return (...last) => {
    if (waiting === null) {
      requestAnimationFrame(() => {
        const given = waiting;
        waiting = null;
        action(...given);
      });
    }
    waiting = last;
  };
}

/** Calls `action` once nothing has been asked for `ms` milliseconds. */
export function settled(action, ms) {
  let timer = 0;
  return (...last) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...last), ms);
  };
}
