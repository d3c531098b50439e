// Files for the reader: figures as SVG or PNG, tables as CSV.

import { h } from "../core/dom.js";
import { theme, token } from "../core/theme.js";

/** Hands a blob or an address to the browser as a file. */
export function save(content, name) {
  const address = content instanceof Blob ? URL.createObjectURL(content) : content;
  const anchor = h("a", { href: address, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  if (content instanceof Blob) setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function standing(svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  paper.setAttribute("width", "100%");
  paper.setAttribute("height", "100%");
  paper.setAttribute("fill", token("--paper"));
  copy.insertBefore(paper, copy.firstChild);
  // XML has no form for most control characters; the page never puts them into a figure, a hostile name might
  return new XMLSerializer().serializeToString(copy).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g,
    "\ufffd");
}

/** Saves an SVG element as a file. */
export function saveSvg(svg, name) {
  save(new Blob([standing(svg)], { type: "image/svg+xml" }), `${name}.svg`);
}

/** Saves an SVG element as pixels, twice as fine as on the page. */
export async function savePng(svg, name, scale = 2) {
  const width = Number(svg.getAttribute("width"));
  const height = Number(svg.getAttribute("height"));
  const address = URL.createObjectURL(new Blob([standing(svg)], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = h("canvas", { width: Math.ceil(width * scale), height: Math.ceil(height * scale) });
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.drawImage(image, 0, 0, width, height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    save(blob, `${name}.png`);
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Saves rows of values as CSV; a text that a spreadsheet would take for a formula is quoted with an apostrophe. */
export function saveCsv(rows, name) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n");
  save(new Blob([`${text}\r\n`], { type: "text/csv;charset=utf-8" }), `${name}.csv`);
}

/** What a file of this figure is called: letters and digits only, the theme at the end where it is dark. */
export function fileName(...parts) {
  const name = parts.join("-").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^-+|-+$/g, "");
  return theme() === "dark" ? `${name}-dark` : name;
}
