// Events of which the mesh has noted something, the latest news first: who has got them, and who not.

import { get } from "./api.js";
import { badge, button, empty, field, h, href, notice, table, time } from "./ui.js";

const PAGE = 100;

const OUTCOMES = [
  ["", "any"],
  ["delivered", "delivered"],
  ["waiting", "waiting"],
  ["parked", "parked"],
  ["dead-lettered", "dead-lettered"],
];
const SINCE = [
  ["", "any time"],
  ["300", "the last 5 minutes"],
  ["3600", "the last hour"],
  ["86400", "the last day"],
];

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function found(root, query, signal) {
  const controls = {
    id: input("id"),
    type: input("type"),
    source: input("source"),
    trigger: input("trigger", "namespace/name"),
    outcome: choice("outcome", OUTCOMES),
    since: choice("since", SINCE),
  };
  let rows = [];
  let next = null;
  const nothing = h("div");
  const grid = table({
    label: "Known events, the latest news first",
    columns: [
      { name: "at", title: "Last news", width: "9rem", cell: (row) => time(row.at) },
      { name: "type", title: "Type", cell: (row) => row.type },
      { name: "id", title: "Id", cell: (row) => row.id },
      { name: "source", title: "Source", wide: true, cell: (row) => row.source },
      { name: "outcome", title: "Triggers", cell: outcomes },
    ],
    rows,
    key: (row) => `${row.source} ${row.id}`,
    onOpen: (row) => (location.hash = href("story", { id: row.id, source: row.source })),
    none: nothing,
  });
  const older = button("Older ones", () => read(next));
  const trouble = h("div");
  root.append(
    h(
      "form",
      { class: "bar asking", onsubmit: ask },
      field("Id", controls.id),
      field("Type", controls.type),
      field("Source", controls.source),
      field("Trigger", controls.trigger),
      field("Outcome", controls.outcome),
      field("News of", controls.since),
      h("button", { class: "primary" }, "Search"),
    ),
    trouble,
    grid,
    h("div", { class: "actions" }, older),
  );
  await read(null);

  function input(name, placeholder = null) {
    return h("input", { value: query.get(name) ?? "", placeholder, spellcheck: "false" });
  }

  function choice(name, options) {
    const chosen = query.get(name) ?? "";
    return h(
      "select",
      null,
      options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
    );
  }

  function asked() {
    return Object.fromEntries(Object.entries(controls).map(([name, each]) => [name, each.value.trim()]));
  }

  function ask(event) {
    event.preventDefault();
    history.replaceState(null, "", href("events", { view: "known", ...asked() }));
    [rows, next] = [[], null];
    read(null);
  }

  /** Read a page, and more of them while they are empty but others follow. @param {string | null} before */
  async function read(before) {
    const { since, ...wanted } = asked();
    const given = Object.entries({ ...wanted, limit: String(PAGE), before }).filter(([, value]) => value);
    const search = new URLSearchParams(given);
    if (since) search.set("since", new Date(Date.now() - Number(since) * 1000).toISOString());
    older.disabled = true;
    try {
      const page = await get(`/api/v1/stories?${search}`, signal);
      rows = rows.concat(page.events);
      next = page.next;
      trouble.replaceChildren();
      if (!page.events.length && next) return read(next);
    } catch (error) {
      if (signal.aborted) return;
      trouble.replaceChildren(notice("bad", error.message));
      next = null;
    }
    const isAsked = Object.values(asked()).some(Boolean);
    nothing.replaceChildren(
      isAsked
        ? empty(
            "Nothing is known of such an event",
            "It never came here, or is older than what is kept, or the words above are not just as in the event.",
          )
        : empty(
            "Nothing is known yet",
            "Each event that comes in is noted, and what each trigger makes of it.",
            h("a", { class: "button", href: href("send") }, "Send an event"),
          ),
    );
    grid.update(rows);
    older.hidden = next === null;
    older.disabled = false;
  }
}

const KINDS = { delivered: "good", waiting: "warn", parked: "warn", "dead-lettered": "bad" };

/** Each outcome that triggers have come to, and how many have, the worst first. */
function outcomes(row) {
  const counts = new Map();
  for (const { outcome } of row.triggers) if (outcome) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const order = ["dead-lettered", "parked", "waiting", "delivered"].filter((each) => counts.has(each));
  if (!order.length) return h("span", { class: "muted" }, "none yet");
  return h(
    "span",
    { class: "badges" },
    order.map((each) => badge(counts.get(each) > 1 ? `${counts.get(each)} ${each}` : each, KINDS[each])),
  );
}
