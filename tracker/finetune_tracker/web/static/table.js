// A table of many rows: filtered, sorted, shown a page at a time, so that thousands stay quick and fit a phone.

import { fill, h } from "./dom.js";

/**
 * columns: [{title, value(row) -> number|string, cell(row, value)?, numeric?, short?}]. Returns {element, update(rows)}.
 * The order, the filter and the page survive an update.
 */
export function table(columns, { filterable = true, sort = null, descending = false, label = "rows", size = 100 } = {}) {
  let rows = [], order = sort, down = descending, words = "", page = 0;
  const head = h("thead"), body = h("tbody"), foot = h("div", { class: "pager" });
  const filter = h("input", {
    type: "search", placeholder: `filter ${label}`, "aria-label": `filter ${label}`, class: "filter",
    oninput: () => { words = filter.value.toLowerCase(); page = 0; draw(); },
  });
  const element = h("div", { class: "tablebox" }, filterable ? filter : null,
    h("div", { class: "scroll" }, h("table", {}, head, body)), foot);

  const chosen = () => {
    let found = rows;
    if (words) {
      const terms = words.split(/\s+/).filter(Boolean);
      found = rows.filter((row) => {
        const text = columns.map((column) => column.value(row) ?? "").join(" ").toLowerCase();
        return terms.every((term) => text.includes(term));
      });
    }
    const column = columns[order];
    if (!column) return found;
    const sign = down ? -1 : 1;
    return [...found].sort((a, b) => compare(column.value(a), column.value(b), sign));
  };

  function draw() {
    const found = chosen(), pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(page, pages - 1);
    fill(head, h("tr", {}, columns.map((column, i) => h("th", {
      scope: "col", class: column.numeric ? "numeric" : null,
      "aria-sort": i === order ? (down ? "descending" : "ascending") : null,
    }, h("button", { onclick: () => { down = i === order ? !down : false; order = i; draw(); } }, column.title)))));
    fill(body, found.slice(page * size, (page + 1) * size).map((row) => h("tr", {}, columns.map((column) => {
      const value = column.value(row);
      return h("td", { class: column.numeric ? "numeric" : column.short || typeof value === "number" ? "short" : null }, column.cell ? column.cell(row, value) : value);
    }))));
    const step = (by) => () => { page += by; draw(); element.scrollIntoView({ block: "nearest" }); };
    fill(foot, h("span", {}, `${found.length}${found.length === rows.length ? "" : ` of ${rows.length}`} ${rows.length === 1 ? label.replace(/s$/, "") : label}`),
      pages > 1 ? [
        h("button", { onclick: step(-1), disabled: page === 0 }, "Previous"),
        h("span", {}, `page ${page + 1} of ${pages}`),
        h("button", { onclick: step(1), disabled: page === pages - 1 }, "Next")] : null);
  }

  draw();
  return { element, update: (next) => { rows = next; draw(); } };
}

function compare(a, b, sign) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
}
