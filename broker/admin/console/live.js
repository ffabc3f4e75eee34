// The events of a broker as they come: the newest of them, however many those are.

import { lines } from "./api.js";
import { attributesView, eventOf, payloadView } from "./payload.js";
import { perSecond } from "./status.js";
import { button, count, empty, field, h, href, link, notice, rate, table, time } from "./ui.js";

const KEPT = 500; // events that are shown
const HELD = 32 << 20; // characters of them, where they are large
const DRAWN_EVERY = 250; // milliseconds
const AGAIN = 2000; // milliseconds after which a stream that broke off is followed again

/**
 * @param {HTMLElement} root @param {URLSearchParams} query @param {string[]} brokers
 * @param {AbortSignal} signal
 */
export function live(root, query, brokers, signal) {
  let broker = brokers.includes(query.get("broker")) ? query.get("broker") : brokers[0];
  let filter = query.get("filter") ?? "";
  let following = null; // aborts what is followed now
  let news = []; // the newest last: {number, at, line, event}
  let held = 0; // characters of them
  let came = 0;
  let shown = 0; // how many had come when the table was drawn last
  let paused = false;
  let fresh = true;

  const choice = h(
    "select",
    { "aria-label": "Broker", onchange: restart },
    brokers.map((each) => h("option", { value: each, selected: each === broker }, each)),
  );
  const text = h("input", {
    value: filter,
    class: "mono cesql",
    spellcheck: "false",
    placeholder: "type = 'order.placed' AND subject LIKE 'eu/%'",
    "aria-describedby": "fault",
  });
  const fault = h("pre", { id: "fault", class: "fault", role: "alert", hidden: true });
  const pause = button("Pause", () => hold(!paused));
  const said = h("p", { class: "about", role: "status" });
  const trouble = h("div");
  const details = h("aside", { class: "card details", "aria-label": "The event", hidden: true });
  const nothing = h("div");
  const grid = table({
    label: "Events, the newest first",
    columns: [
      { name: "at", title: "Came", width: "8.5rem", cell: (row) => time(row.at) },
      { name: "type", title: "Type", cell: (row) => titled(seen(row).type) },
      { name: "id", title: "Id", cell: (row) => titled(seen(row).id) },
      { name: "source", title: "Source", wide: true, cell: (row) => titled(seen(row).source) },
      { name: "subject", title: "Subject", wide: true, cell: (row) => seen(row).subject ?? "" },
    ],
    rows: [],
    key: (row) => String(row.number),
    onOpen: open,
    none: nothing,
  });
  const form = h(
    "form",
    { class: "bar filtering", onsubmit: restart },
    choice,
    field("Filter (CESQL)", text),
    h("button", null, "Filter"),
    pause,
    button("Clear", clear),
  );
  root.append(form, fault, trouble, said, h("div", { class: "split stream" }, grid, details));
  const drawing = setInterval(draw, DRAWN_EVERY);
  signal.addEventListener("abort", () => clearInterval(drawing), { once: true });
  follow();

  function restart(event) {
    event?.preventDefault();
    broker = choice.value;
    filter = text.value.trim();
    history.replaceState(
      null,
      "",
      href("events", { view: "live", broker: broker === brokers[0] ? null : broker, filter }),
    );
    clear();
    hold(false);
    follow();
  }

  async function follow() {
    following?.abort();
    following = new AbortController();
    nothing.replaceChildren(
      filter
        ? empty(
            "Nothing has passed the filter yet",
            "Only events for which it is true are shown, from now on.",
            button("Without a filter", () => ((text.value = ""), restart())),
          )
        : empty(
            "Nothing has come yet",
            "Events are shown here as the broker stores them, from now on.",
            h("a", { class: "button", href: href("send", { broker }) }, "Send an event"),
          ),
    );
    const mine = AbortSignal.any([signal, following.signal]);
    wrong(null);
    const search = filter ? `?${new URLSearchParams({ filter })}` : "";
    while (!mine.aborted) {
      try {
        trouble.replaceChildren();
        await lines(`/api/v1/brokers/${broker}/tail${search}`, keep, mine);
        if (mine.aborted) return;
        trouble.replaceChildren(
          notice("warn", "The stream ended. It is followed again as soon as the mesh answers."),
        );
      } catch (error) {
        if (mine.aborted) return;
        if (error.status === 400) return wrong(error.message);
        trouble.replaceChildren(notice("bad", error.message));
      }
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  }

  /** Say where the filter goes wrong. @param {string | null} message */
  function wrong(message) {
    const column = /at column (\d+)/.exec(message ?? "")?.[1];
    const mark = column ? `${filter}\n${" ".repeat(column - 1)}^\n` : "";
    fault.hidden = message === null;
    fault.textContent = message === null ? "" : mark + message.replace(/^'filter': /, "");
    text.setAttribute("aria-invalid", String(message !== null));
  }

  function keep(line) {
    came += 1;
    if (paused) return;
    news.push({ number: came, at: new Date().toISOString(), line, event: null });
    held += line.length;
    // All at once now and then: to take each from the front would move all the others each time.
    if (news.length > 2 * KEPT || held > HELD) forget();
  }

  function forget() {
    news = news.slice(-KEPT);
    held = news.reduce((sum, each) => sum + each.line.length, 0);
    while (held > HELD && news.length > 1) held -= news.shift().line.length;
  }

  function clear() {
    [news, held, came, shown, fresh] = [[], 0, 0, 0, true];
    close();
  }

  function hold(now) {
    paused = now;
    fresh = true;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
  }

  function draw() {
    if (document.hidden || (!fresh && came === shown)) return;
    if (!paused || fresh) grid.update(news.slice(-KEPT).reverse());
    shown = came;
    fresh = false;
    if (came === 0) return void (said.textContent = `Follows ${broker}.`);
    const taken = perSecond("broker", broker, "accepted");
    const many =
      came > Math.min(news.length, KEPT)
        ? `the newest ${count(Math.min(news.length, KEPT))} of ${count(came)}`
        : count(came);
    const of = filter ? " that passed the filter" : "";
    const also = taken === null ? "" : `; the broker takes ${rate(taken)}`;
    const later = came - (news.at(-1)?.number ?? 0);
    const held = later
      ? `${count(later)} more have come since, and are not shown`
      : "nothing more has come since";
    said.textContent = paused ? `Paused: ${held}.` : `Shows ${many}${of}${also}.`;
  }

  function open(row) {
    hold(true); // what is looked at does not run away
    const { attributes, payload } = parsed(row);
    details.replaceChildren(
      h(
        "header",
        { class: "bar" },
        h("h2", null, "The event"),
        link("story", { id: attributes.id, source: attributes.source }, "Its story"),
        h("span", { class: "actions end" }, button("Close", closeAndReturn, "quiet")),
      ),
      attributesView(attributes),
      payloadView(payload),
    );
    details.hidden = false;
    details.onkeydown = (event) => event.key === "Escape" && closeAndReturn();
    details.querySelector("a").focus({ preventScroll: innerWidth > 760 });
  }

  function close() {
    details.hidden = true;
  }

  function closeAndReturn() {
    close();
    grid.querySelector('tbody tr[tabindex="0"]')?.focus();
  }
}

function parsed(row) {
  row.event ??= eventOf(row.line);
  return row.event;
}

/** Text that may be cut, whole where the mouse rests. */
function titled(text) {
  return h("span", { title: text }, text);
}

function seen(row) {
  return parsed(row).attributes;
}
