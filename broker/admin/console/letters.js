// The dead letters of one cause: a list to choose from.

import { get } from "./api.js";
import { redriving } from "./redriving.js";
import { button, count, empty, h, href, link, notice, table, time } from "./ui.js";

const PAGE = 1000; // that are read at a time
const WANTED = 200; // that are shown before somebody asks for more

/**
 * @param {HTMLElement} root @param {URLSearchParams} query @param {string} broker
 * @param {AbortSignal} signal
 */
export async function letters(root, query, broker, signal) {
  const path = `/api/v1/brokers/${broker}/deadletters`;
  const cause = { trigger: query.get("trigger"), reason: query.get("reason"), status: query.get("status") };
  const selected = new Set();
  let rows = [];
  let next = "";
  const all = h("input", {
    type: "checkbox",
    "aria-label": "Select all that are shown",
    onchange: () => select(rows, all.checked),
  });
  const grid = table({
    label: "Dead letters, the oldest first",
    columns: [
      {
        name: "chosen",
        title: all,
        width: "3rem",
        cell: (row) =>
          h("input", {
            type: "checkbox",
            checked: selected.has(row.id),
            "aria-label": `Select ${row.event.id}`,
            onchange: (event) => select([row], event.target.checked),
          }),
      },
      { name: "at", title: "Given up", width: "9rem", cell: (row) => time(row.buriedAt) },
      { name: "type", title: "Type", cell: (row) => row.event.type },
      { name: "id", title: "Id", cell: (row) => row.event.id },
      { name: "source", title: "Source", wide: true, cell: (row) => row.event.source },
      {
        name: "attempts",
        title: "Attempts",
        width: "5.5rem",
        numeric: true,
        wide: true,
        cell: (row) => count(row.why.attempts),
      },
    ],
    rows,
    key: (row) => row.id,
    onOpen: (row) => (location.hash = href("deadletters", { broker, id: row.id })),
    none: empty(
      "No dead letters of this cause",
      "They were redriven, here or by somebody else.",
      link("deadletters", { broker }, "All causes", { class: "button" }),
    ),
  });
  const more = button("Show more", () => read(WANTED));
  const trouble = h("div");
  const redrive = redriving({ broker, label, ids, done: again, signal });
  root.append(
    h(
      "div",
      { class: "card" },
      h("p", { class: "said" }, h("strong", null, cause.reason)),
      h(
        "p",
        { class: "muted" },
        cause.trigger
          ? ["of ", link("trigger", { name: cause.trigger }, cause.trigger)]
          : "of no trigger: what a source was given, or what others wrote",
      ),
    ),
    trouble,
    cause.trigger
      ? redrive
      : notice(
          "info",
          "These are no events that a trigger could get, and cannot be redriven. Look at one to see what it is.",
        ),
    grid,
    h("div", { class: "actions" }, more),
  );
  await read(WANTED);

  function label() {
    return selected.size ? `Redrive ${count(selected.size)} selected` : "Redrive all of this cause";
  }

  async function ids() {
    if (selected.size) return [...selected];
    const found = [];
    let after = "";
    while (after !== null) {
      const page = await get(`${path}?${asked(after)}`, signal);
      found.push(...page.deadLetters.map((each) => each.id));
      after = page.next;
    }
    return found;
  }

  function asked(after) {
    const given = Object.entries({ ...cause, after }).filter(([, value]) => value);
    return new URLSearchParams([...given, ["limit", String(PAGE)]]);
  }

  /** Read until so many more of them are there, or there are no more. */
  async function read(many) {
    const enough = rows.length + many;
    more.disabled = true;
    try {
      while (next !== null && rows.length < enough) {
        const page = await get(`${path}?${asked(next)}`, signal);
        rows = rows.concat(page.deadLetters);
        next = page.next;
      }
    } catch (error) {
      if (signal.aborted) return;
      trouble.replaceChildren(notice("bad", error.message));
    }
    grid.update(rows);
    more.hidden = next === null;
    more.disabled = false;
  }

  function again() {
    selected.clear();
    all.checked = false;
    redrive.update();
    [rows, next] = [[], ""];
    read(WANTED);
  }

  function select(some, is) {
    for (const each of some) {
      if (is) selected.add(each.id);
      else selected.delete(each.id);
    }
    redrive.update();
    if (some.length > 1 || some === rows) {
      rows = rows.map((each) => ({ ...each })); // as others, so that they are drawn again
      grid.update(rows);
    }
  }
}
