// Events: those that come in now, those of which something is known, and the way to one by its id.

import { found } from "../found.js";
import { live } from "../live.js";
import { follow } from "../status.js";
import { empty, h, heading, href } from "../ui.js";

export const title = "Events";

const ASKED = ["trigger", "outcome", "type", "source", "id", "since"];

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const view = query.get("view") ?? (ASKED.some((each) => query.has(each)) ? "known" : "live");
  const wanted = h("input", {
    type: "search",
    placeholder: "Event id",
    "aria-label": "Find an event by its id",
    spellcheck: "false",
  });
  const finding = h(
    "form",
    { class: "bar", role: "search", onsubmit: find },
    wanted,
    h("button", null, "Tell its story"),
  );
  const views = h(
    "span",
    { class: "views", role: "group", "aria-label": "View" },
    tab("live", "Live"),
    tab("known", "Known events"),
  );
  const place = h("div", { class: "page" });
  root.append(heading("Events", views, finding), place);
  const brokers = await brokersOf(signal);
  if (signal.aborted) return;
  if (!brokers.length) {
    place.append(
      empty(
        "This mesh has no broker",
        "Declare a Broker in its manifests: events come in there.",
        h("a", { class: "button", href: href("manifests") }, "To the manifests"),
      ),
    );
  } else if (view === "known") {
    await found(place, query, signal);
  } else {
    live(place, query, brokers, signal);
  }

  function tab(name, text) {
    return h(
      "a",
      { href: href("events", { view: name }), "aria-current": view === name ? "true" : null },
      text,
    );
  }

  function find(event) {
    event.preventDefault();
    const id = wanted.value.trim();
    if (id) location.hash = href("story", { id });
  }
}

/** The names of all brokers, once they are known. @param {AbortSignal} signal @returns {Promise<string[]>} */
export function brokersOf(signal) {
  return new Promise((done) => {
    const enough = new AbortController();
    signal.addEventListener("abort", () => done([]), { once: true });
    follow(
      (status) => {
        enough.abort();
        done(status.brokers.map((each) => each.name));
      },
      AbortSignal.any([signal, enough.signal]),
    );
  });
}
