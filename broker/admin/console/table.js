// A table that can be sorted and gone through by keyboard, and draws only the rows that are seen.

import { h } from "./ui.js";

const MANY = 200;
const ROW = 33; // pixels: what style.css gives a row of a table
const BEYOND = 12; // rows that are drawn above and below those that are seen

/**
 * @typedef {object} Column
 * @property {string} name what it is called in `sort`
 * @property {string} [title] the words above it
 * @property {(row: any) => any} cell text, an element, or null
 * @property {(row: any) => any} [by] what to sort by; without it, it cannot be sorted
 * @property {boolean} [numeric] to the right, and the greatest first
 * @property {string} [width] as in CSS
 * @property {boolean} [wide] only where the window is wide
 */

/**
 * Make a table. `update(rows)` of the element that is returned draws other rows: cells that are
 * the same stay, and so does the focus. Where `onOpen` is given, Enter and a click open a row.
 * @param {object} options
 * @param {Column[]} options.columns
 * @param {any[]} options.rows
 * @param {(row: any) => string} options.key
 * @param {(row: any) => void} [options.onOpen]
 * @param {{name: string, down: boolean} | null} [options.sort]
 * @param {string} [options.label] what the table is of, for those who cannot see it
 * @param {any} [options.none] what stands in its place where there are no rows
 * @returns {HTMLElement & {update: (rows: any[]) => void}}
 */
export function table({ columns, rows, key, onOpen, sort = null, label = "", none = null }) {
  let all = rows;
  let sorted = rows;
  let focused = 0;
  const drawn = new Map();
  const above = spacer();
  const below = spacer();
  const body = h("tbody", null, above, below);
  const heads = columns.map((column) => head(column));
  const grid = h(
    "table",
    { "aria-label": label },
    h(
      "colgroup",
      null,
      columns.map((each) =>
        h("col", { class: each.wide ? "wide" : null, style: each.width ? { width: each.width } : {} }),
      ),
    ),
    h("thead", null, h("tr", null, heads)),
    body,
  );
  const place = h("div", { class: "none", hidden: true }, none);
  const frame = h("div", { class: "table", onscroll: () => draw(), onkeydown: moved }, grid, place);
  if (onOpen) frame.classList.add("opens");
  new ResizeObserver(() => draw()).observe(frame);

  function head(column) {
    const shape = [column.numeric ? "numeric" : null, column.wide ? "wide" : null].filter(Boolean).join(" ");
    const title = column.title ?? "";
    const content = column.by ? h("button", { type: "button", onclick: () => turn(column) }, title) : title;
    return h("th", { scope: "col", class: shape || null }, content);
  }

  function turn(column) {
    const again = sort?.name === column.name;
    sort = { name: column.name, down: again ? !sort.down : Boolean(column.numeric) };
    frame.dispatchEvent(new CustomEvent("sorted", { detail: sort }));
    order();
  }

  function order() {
    const column = columns.find((each) => each.name === sort?.name);
    sorted = all;
    if (column?.by) {
      const way = sort.down ? -1 : 1;
      const named = all.map((row) => [column.by(row), row]);
      sorted = named.sort(([one], [other]) => way * compared(one, other)).map(([, row]) => row);
    }
    heads.forEach((each, at) => {
      if (columns[at].name !== sort?.name) each.removeAttribute("aria-sort");
      else each.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    });
    draw();
  }

  /** Draw the rows that can be seen, and keep those that have been drawn. */
  function draw() {
    const many = sorted.length > MANY;
    frame.classList.toggle("many", many);
    const top = Math.max(0, Math.floor(frame.scrollTop / ROW) - BEYOND);
    const first = many ? Math.min(top, sorted.length) : 0;
    const last = many
      ? Math.min(sorted.length, top + Math.ceil((frame.clientHeight || 800) / ROW) + 2 * BEYOND)
      : sorted.length;
    focused = Math.min(focused, Math.max(0, sorted.length - 1));
    grid.setAttribute("aria-rowcount", String(sorted.length + 1));
    const wanted = new Set();
    let before = above;
    for (let at = first; at < last; at += 1) {
      const row = sorted[at];
      const name = key(row);
      if (wanted.has(name)) continue;
      wanted.add(name);
      const made = drawn.get(name) ?? fresh(name);
      fill(made, row, at);
      if (before.nextSibling !== made.element) before.after(made.element);
      before = made.element;
    }
    for (const [name, made] of drawn) {
      if (wanted.has(name)) continue;
      made.element.remove();
      drawn.delete(name);
    }
    above.firstChild.style.height = `${first * ROW}px`;
    below.firstChild.style.height = `${(sorted.length - last) * ROW}px`;
    above.hidden = first === 0;
    below.hidden = last === sorted.length;
    grid.hidden = sorted.length === 0 && none !== null;
    place.hidden = !grid.hidden;
  }

  function fresh(name) {
    const made = {
      row: null,
      at: -1,
      element: h("tr", { onclick: (event) => clicked(event, made), onfocus: () => (focused = made.at) }),
    };
    drawn.set(name, made);
    return made;
  }

  function fill(made, row, at) {
    made.at = at;
    made.element.tabIndex = at === focused ? 0 : -1;
    made.element.setAttribute("aria-rowindex", String(at + 2));
    if (made.row === row) return;
    made.row = row;
    columns.forEach((column, place) => {
      const shape = [column.numeric ? "numeric" : null, column.wide ? "wide" : null]
        .filter(Boolean)
        .join(" ");
      const cell = h("td", { class: shape || null }, column.cell(row));
      const old = made.element.children[place];
      if (!old) made.element.append(cell);
      else if (!old.isEqualNode(cell)) old.replaceWith(cell);
      else
        old
          .querySelectorAll("input")
          .forEach((each, nth) => (each.checked = cell.querySelectorAll("input")[nth].checked));
    });
  }

  function clicked(event, made) {
    if (!onOpen || event.target.closest("a, button, input, select, label") || getSelection().toString())
      return;
    onOpen(made.row);
  }

  /** @param {KeyboardEvent} event */
  function moved(event) {
    const row = event.target.closest("tbody tr");
    if (event.target !== row || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(frame.clientHeight / ROW) - 2);
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -sorted.length,
      End: sorted.length,
    };
    if (event.key === "Enter" && onOpen) onOpen(sorted[focused]);
    else if (event.key in steps) go(focused + steps[event.key]);
    else return;
    event.preventDefault();
  }

  function go(to) {
    focused = Math.max(0, Math.min(sorted.length - 1, to));
    if (frame.classList.contains("many")) {
      const y = focused * ROW;
      if (y < frame.scrollTop) frame.scrollTop = y;
      else if (y + 2 * ROW > frame.scrollTop + frame.clientHeight)
        frame.scrollTop = y + 2 * ROW - frame.clientHeight;
    }
    draw();
    drawn.get(key(sorted[focused]))?.element.focus();
  }

  frame.update = (others) => {
    all = others;
    order();
  };
  order();
  return frame;
}

function spacer() {
  return h("tr", { class: "spacer", "aria-hidden": "true", hidden: true }, h("td"));
}

function compared(one, other) {
  if (one === other) return 0;
  if (one === null || one === undefined) return -1;
  if (other === null || other === undefined) return 1;
  if (typeof one === "string") return one.localeCompare(other);
  return one < other ? -1 : 1;
}
