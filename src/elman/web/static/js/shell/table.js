// A table whose columns sort, by mouse and by keyboard.

import { h, show } from "../core/dom.js";

/**
 * A sortable table.
 *
 * `columns`: [{id, title, hint, number: true|false, value(row), cell(row) -> node or text, best: "high"|"low"|"text"}];
 * `options`: {caption, sort: "id" or "-id", onSort(sort), rowClass(row), onRow(row)}. Rows without a value stand last.
 */
export function table(columns, rows, options) {
  const body = h("tbody", {});
  const heads = columns.map((column) => {
    const button = h("button", { type: "button", title: column.hint, onclick: () => sortBy(column) }, column.title);
    return h("th", { scope: "col", class: column.number ? "number" : null }, column.value ? button : column.title);
  });
  let sort = options.sort ?? "";

  function sortBy(column) {
    const first = column.best === "high" ? `-${column.id}` : column.id;
    const other = first.startsWith("-") ? column.id : `-${column.id}`;
    sort = sort === first ? other : first;
    draw();
    options.onSort?.(sort);
  }

  function draw() {
    const id = sort.replace(/^-/, "");
    const column = columns.find((each) => each.id === id && each.value);
    const sign = sort.startsWith("-") ? -1 : 1;
    const ordered = rows.map((row, index) => ({ row, index, key: column?.value(row) }));
    const missing = (key) => key === null || key === undefined || Number.isNaN(key);
    if (column) {
      ordered.sort((one, other) => {
        if (missing(one.key) || missing(other.key)) return missing(one.key) - missing(other.key)
          || one.index - other.index;
        const order = typeof one.key === "string" ? one.key.localeCompare(other.key) : one.key - other.key;
        return sign * order || one.index - other.index;
      });
    }
    columns.forEach((each, k) => {
      if (each === column) heads[k].setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
      else heads[k].removeAttribute("aria-sort");
    });
    show(
      body,
      ordered.map(({ row }) =>
        h(
          "tr",
          { class: options.rowClass?.(row) },
          columns.map((each, k) =>
            h(k === 0 ? "th" : "td", { class: each.number ? "number" : null, scope: k === 0 ? "row" : null },
              each.cell(row))),
        )),
    );
  }

  draw();
  return h(
    "div",
    { class: rows.length > 40 ? "table-host tall" : "table-host", tabindex: "0", role: "region",
      "aria-label": options.caption },
    h("table", {}, h("caption", { class: "visually-hidden" }, options.caption), h("thead", {}, h("tr", {}, heads)),
      body),
  );
}

/** Details under a summary that are made when they are first opened: a table of thousands of words takes seconds. */
export function folded(title, open, make) {
  const inside = h("div", {});
  const fill = () => element.open && !inside.firstChild && inside.append(make());
  const element = h("details", { open, ontoggle: fill }, h("summary", {}, title), inside);
  fill();
  return element;
}
