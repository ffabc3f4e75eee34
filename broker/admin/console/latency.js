// How long the attempts of a trigger take, and its events from when they were accepted.

import { poll } from "./api.js";
import { count, duration, h } from "./ui.js";

const EVERY = 3; // seconds
const ROWS = [
  ["attempts", "An attempt"],
  ["channel", "Until the first attempt"],
  ["endToEnd", "From accepted to delivered"],
];
const CAME_TO = {
  delivered: "delivered",
  retry: "failed and repeated",
  exhausted: "failed for the last time",
  refused: "refused",
  untried: "not made",
};
const SHARES = [0.5, 0.95, 0.99];

/** @param {string} path of the trigger @param {AbortSignal} signal @returns {HTMLElement} */
export function latency(path, signal) {
  const body = h("tbody");
  const outcomes = h("p", { class: "muted" });
  const shown = h(
    "div",
    { class: "latency" },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["", "half", "95 %", "99 %"].map((each, at) =>
            h("th", { scope: "col", class: at ? "numeric" : null }, each),
          ),
        ),
      ),
      body,
    ),
    outcomes,
    h("small", null, "Since the mesh was started; told by the bounds that the metrics count by."),
  );
  poll(`${path}/attempts`, EVERY, draw, signal, (error) => (outcomes.textContent = error.message));
  return shown;

  function draw(document) {
    body.replaceChildren(
      ...ROWS.map(([name, words]) => {
        const { buckets } = document[name];
        return h(
          "tr",
          null,
          h("th", { scope: "row" }, words),
          SHARES.map((share) => h("td", { class: "numeric" }, within(buckets, share))),
        );
      }),
    );
    const tried = Object.entries(document.outcomes).filter(([, times]) => times);
    outcomes.textContent = tried.length
      ? `Attempts: ${tried.map(([outcome, times]) => `${count(times)} ${CAME_TO[outcome] ?? outcome}`).join(", ")}`
      : "No attempt has been made yet.";
  }
}

/** The bound that so great a share is within. @param {{le: number | null, count: number}[]} buckets */
function within(buckets, share) {
  const all = buckets.reduce((sum, each) => sum + each.count, 0);
  if (!all) return "–";
  let sum = 0;
  const found = buckets.findIndex((each) => (sum += each.count) >= share * all);
  const { le } = buckets[found];
  return le === null ? `> ${duration(buckets[found - 1].le)}` : `≤ ${bound(le)}`;
}

function bound(seconds) {
  return seconds < 0.01 ? `${seconds * 1000} ms` : duration(seconds);
}
