// Dead letters: what they were given up for, those of one cause, and one of them.

import { get } from "../api.js";
import { letter } from "../letter.js";
import { letters } from "../letters.js";
import { redriving } from "../redriving.js";
import { follow } from "../status.js";
import { badge, button, count, empty, h, heading, href, link, notice, table, time } from "../ui.js";

export const title = "Dead letters";

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const brokers = await known(signal);
  if (signal.aborted) return;
  const of = brokers.find((each) => each.triggers.some((one) => one.name === query.get("trigger")));
  const broker = query.get("broker") ?? of?.name ?? brokers[0]?.name;
  const place = h("div", { class: "page" });
  const back = (text) => link("deadletters", { broker }, text);
  if (query.has("id")) {
    root.append(heading("Dead letter", back("All causes")), place);
    await letter(place, query.get("id"), broker, signal);
  } else if (query.has("reason")) {
    root.append(heading("Dead letters", back("All causes")), place);
    await letters(place, query, broker, signal);
  } else {
    const choice = h(
      "select",
      {
        "aria-label": "Broker",
        onchange: () => (location.hash = href("deadletters", { broker: choice.value })),
      },
      brokers.map(({ name }) => h("option", { value: name, selected: name === broker }, name)),
    );
    root.append(heading("Dead letters", brokers.length > 1 ? choice : broker), place);
    if (broker) await causes(place, broker, query.get("trigger"), signal);
    else
      place.append(
        empty(
          "This mesh has no broker",
          "Declare a Broker in its manifests.",
          link("manifests", {}, "To the manifests", { class: "button" }),
        ),
      );
  }
}

/** The brokers, once they are known. @param {AbortSignal} signal @returns {Promise<any[]>} */
function known(signal) {
  return new Promise((done) => {
    const enough = new AbortController();
    signal.addEventListener("abort", () => done([]), { once: true });
    follow(({ brokers }) => (enough.abort(), done(brokers)), AbortSignal.any([signal, enough.signal]));
  });
}

async function causes(root, broker, trigger, signal) {
  const path = `/api/v1/brokers/${broker}/deadletters`;
  const about = h("p", { class: "about", role: "status" });
  const trouble = h("div");
  const grid = table({
    label: "Causes, those with the most dead letters first",
    columns: [
      {
        name: "count",
        title: "Events",
        width: "5.5rem",
        numeric: true,
        by: (row) => row.count,
        cell: (row) => count(row.count),
      },
      {
        name: "status",
        title: "Status",
        width: "5.5rem",
        wide: true,
        by: (row) => row.status,
        cell: (row) =>
          row.status === null ? h("span", { class: "muted" }, "none") : badge(String(row.status), "bad"),
      },
      {
        name: "reason",
        title: "Reason",
        by: (row) => row.reason,
        cell: (row) => h("span", { title: row.reason }, row.reason),
      },
      {
        name: "trigger",
        title: "Trigger",
        by: (row) => row.trigger,
        cell: (row) =>
          row.trigger
            ? link("trigger", { name: row.trigger }, row.trigger)
            : h("span", { class: "muted" }, "none"),
      },
      {
        name: "first",
        title: "First",
        width: "9rem",
        wide: true,
        by: (row) => row.first,
        cell: (row) => time(row.first),
      },
      {
        name: "last",
        title: "Last",
        width: "9rem",
        wide: true,
        by: (row) => row.last,
        cell: (row) => time(row.last),
      },
    ],
    rows: [],
    key: (row) => JSON.stringify([row.trigger, row.reason, row.status]),
    onOpen: (row) =>
      (location.hash = href("deadletters", {
        broker,
        trigger: row.trigger,
        reason: row.reason,
        status: row.status ?? "none",
      })),
    none: trigger
      ? empty(
          `No dead letters of ${trigger}`,
          "It has given up no event that is still here.",
          link("deadletters", { broker }, "Those of all triggers", { class: "button" }),
        )
      : empty(
          "No dead letters",
          "What a trigger gives up, and no dead-letter sink takes, is kept here until it is redriven.",
        ),
  });
  const redrive = redriving({
    broker,
    label: () => (trigger ? `Redrive all of ${trigger}` : "Redrive all"),
    ids,
    done: read,
    signal,
  });
  root.append(
    h(
      "div",
      { class: "bar" },
      about,
      button("Look again", read, "quiet"),
      trigger ? link("deadletters", { broker }, "Those of all triggers") : null,
    ),
    trouble,
    redrive,
    grid,
  );
  await read();

  async function read() {
    try {
      const told = await get(`${path}/causes`, signal);
      const rows = told.causes.filter((each) => trigger === null || each.trigger === trigger);
      const many = rows.reduce((sum, each) => sum + each.count, 0);
      about.textContent = many
        ? `${count(many)} for ${count(rows.length)} ${rows.length === 1 ? "cause" : "causes"}${trigger ? `, all of ${trigger}` : ""}`
        : "";
      redrive.hidden = !rows.some((each) => each.trigger);
      grid.update(rows);
      trouble.replaceChildren();
    } catch (error) {
      if (!signal.aborted) trouble.replaceChildren(notice("bad", error.message));
    }
  }

  async function ids() {
    const found = [];
    let after = "";
    while (after !== null) {
      const given = Object.entries({ trigger, after, limit: "1000" }).filter(([, value]) => value);
      const page = await get(`${path}?${new URLSearchParams(given)}`, signal);
      found.push(...page.deadLetters.filter((each) => each.trigger).map((each) => each.id));
      after = page.next;
    }
    return found;
  }
}
