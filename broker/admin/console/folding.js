// A broker and its triggers as a list that can be opened.

import { health, perSecond } from "./status.js";
import { badge, count, counted, empty, h, href, rate, table } from "./ui.js";

/**
 * Make the list of a broker; `show(broker)` of what is returned puts in what has changed.
 * @param {any} broker of the status @param {boolean} open
 */
export function folding(broker, open) {
  const about = h("span", { class: "muted" });
  const rows = table({
    label: `Triggers of ${broker.name}`,
    columns: COLUMNS,
    rows: broker.triggers,
    key: (each) => each.name,
    onOpen: (each) => (location.hash = href("trigger", { name: each.name })),
    none: empty("No trigger takes from this broker", "What comes in is kept, and goes nowhere."),
  });
  const element = h(
    "details",
    { class: "folding", open },
    h("summary", null, h("strong", null, broker.name), " ", about),
    rows,
  );
  return {
    element,
    show: (newer) => {
      const troubled = newer.triggers.filter((each) => health(each).kind !== "good").length;
      about.replaceChildren(
        `${counted(newer.triggers.length, "trigger")}, ${rate(perSecond("broker", newer.name, "accepted"))} accepted `,
        troubled ? badge(`${count(troubled)} not just running`, "warn") : "",
        newer.unavailable ? badge("takes no events", "bad") : "",
      );
      rows.update(newer.triggers);
    },
  };
}

const COLUMNS = [
  { name: "name", title: "Trigger", by: (each) => each.name, cell: (each) => each.name },
  {
    name: "state",
    title: "State",
    by: (each) => each.state,
    cell: (each) => badge(health(each).word, health(each).kind),
    width: "6.4rem",
  },
  {
    name: "rate",
    title: "Delivered",
    numeric: true,
    by: (each) => perSecond("trigger", each.name, "delivered") ?? -1,
    cell: (each) => rate(perSecond("trigger", each.name, "delivered")),
    width: "5.9rem",
  },
  {
    name: "waiting",
    title: "Waiting",
    numeric: true,
    by: (each) => each.waiting,
    cell: (each) => count(each.waiting),
    width: "6rem",
    wide: true,
  },
  {
    name: "dead",
    title: "Dead",
    numeric: true,
    by: (each) => each.deadLettered,
    cell: (each) => count(each.deadLettered),
    width: "4.4rem",
  },
  {
    name: "subscriber",
    title: "Subscriber",
    by: (each) => each.subscriber,
    cell: (each) => each.subscriber,
    width: "40%",
    wide: true,
  },
];
