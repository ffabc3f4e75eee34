// All triggers: what they do now, what waits, what they gave up.

import { follow, health, perSecond } from "../status.js";
import { age, badge, count, empty, h, heading, href, link, rate, table } from "../ui.js";

export const title = "Triggers";

const STATES = ["running", "held", "paused", "probing", "recovering"];

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  let all = null;
  const about = h("span");
  const search = h("input", {
    type: "search",
    placeholder: "Name, broker or subscriber",
    "aria-label": "Search triggers",
    value: query.get("q") ?? "",
    oninput: narrow,
  });
  const states = h(
    "select",
    { "aria-label": "State", onchange: narrow },
    [
      ["", "All states"],
      ...STATES.map((each) => [each, each]),
      ["trouble", "In trouble"],
      ["waiting", "With a backlog"],
    ].map(([value, text]) => h("option", { value, selected: value === (query.get("state") ?? "") }, text)),
  );
  const rows = table({
    label: "Triggers",
    columns: COLUMNS,
    rows: [],
    key: (each) => each.name,
    onOpen: (each) => (location.hash = href("trigger", { name: each.name })),
    sort: { name: "name", down: false },
    none: empty("No trigger is like that", "Change the search or the state above."),
  });
  const place = h("div", null, rows);
  root.append(heading("Triggers", about), h("div", { class: "bar" }, search, states), place);
  follow((status) => {
    all = status.brokers.flatMap((broker) =>
      broker.triggers.map((each) => ({
        ...each,
        broker: broker.name,
        perSecond: perSecond("trigger", each.name, "delivered"),
      })),
    );
    draw(status);
  }, signal);

  function narrow() {
    history.replaceState(null, "", href("triggers", { q: search.value, state: states.value }));
    if (all) draw();
  }

  function draw(status) {
    if (status && !all.length) {
      place.replaceChildren(none(status));
      return;
    }
    if (!rows.isConnected) place.replaceChildren(rows);
    const shown = all.filter((each) => named(each, search.value) && isIn(each, states.value));
    about.textContent =
      shown.length === all.length ? count(all.length) : `${count(shown.length)} of ${count(all.length)}`;
    rows.update(shown);
  }
}

const COLUMNS = [
  {
    name: "name",
    title: "Trigger",
    by: (each) => each.name,
    cell: (each) => link("trigger", { name: each.name }, each.name, { tabindex: -1 }),
  },
  {
    name: "state",
    title: "State",
    by: (each) => `${health(each).kind === "good"} ${each.state}`,
    cell: state,
    width: "6.4rem",
  },
  {
    name: "rate",
    title: "Delivered",
    numeric: true,
    by: (each) => each.perSecond ?? -1,
    cell: (each) => rate(each.perSecond),
    width: "5.9rem",
  },
  {
    name: "waiting",
    title: "Waiting",
    numeric: true,
    by: (each) => each.waiting,
    cell: (each) => count(each.waiting),
    width: "5.9rem",
    wide: true,
  },
  {
    name: "oldest",
    title: "Oldest",
    numeric: true,
    by: (each) => (each.oldestWaiting ? -new Date(each.oldestWaiting) : -Infinity),
    cell: (each) => age(each.oldestWaiting),
    width: "6.5rem",
    wide: true,
  },
  {
    name: "dead",
    title: "Dead",
    numeric: true,
    by: (each) => each.deadLettered,
    cell: dead,
    width: "4.4rem",
  },
  {
    name: "broker",
    title: "Broker",
    by: (each) => each.broker,
    cell: (each) => each.broker,
    width: "16%",
    wide: true,
  },
  {
    name: "subscriber",
    title: "Subscriber",
    by: (each) => each.subscriber,
    cell: (each) => h("span", { title: each.subscriber }, each.subscriber),
    width: "30%",
    wide: true,
  },
];

function state(each) {
  const { word, kind } = health(each);
  return h("span", { title: each.why }, badge(word, kind));
}

function dead(each) {
  if (!each.deadLettered) return "0";
  return link("deadletters", { trigger: each.name }, count(each.deadLettered), {
    class: "bad",
    tabindex: -1,
  });
}

function named(each, text) {
  const wanted = text.trim().toLowerCase();
  return (
    !wanted || [each.name, each.broker, each.subscriber].some((value) => value.toLowerCase().includes(wanted))
  );
}

function isIn(each, wanted) {
  if (!wanted) return true;
  if (wanted === "waiting") return each.waiting > 0;
  if (wanted === "trouble") return health(each).kind !== "good" || each.deadLettered > 0;
  return each.state === wanted;
}

function none(status) {
  if (!status.parts.includes("dispatcher")) {
    return empty(
      "Triggers run in other processes",
      "Look at the console of a dispatcher: it tells what triggers do.",
    );
  }
  return empty(
    "There are no triggers",
    "Nothing is delivered to anybody. Put a Trigger into the manifests: it says which events of a broker go where.",
    h("a", { class: "button", href: href("manifests") }, "To the manifests"),
  );
}
