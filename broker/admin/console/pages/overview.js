// Brokers, triggers and the way between them, with what flows and what is the matter.

import { get } from "../api.js";
import { folding } from "../folding.js";
import { graph } from "../graph.js";
import { follow, health, perSecond } from "../status.js";
import { count, counted, duration, empty, h, heading, href, link, notice, rate, refill } from "../ui.js";

export const title = "Overview";

const MOST = 60; // triggers that a picture can be read with
const NARROW = "(max-width: 760px)";

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const about = h("span");
  const numbers = h("dl", { class: "numbers" });
  const troubles = h("div", { class: "troubles" });
  const search = h("input", {
    type: "search",
    placeholder: "Name or subscriber",
    "aria-label": "Search brokers and triggers",
    value: query.get("q") ?? "",
    oninput: narrow,
  });
  const folded = h("p", { class: "muted" });
  const place = h("div", { class: "ways-of-events" });
  root.append(
    heading("Overview", about),
    h("section", { class: "card", "aria-label": "Now" }, numbers),
    troubles,
    h("div", { class: "bar" }, search, folded),
    place,
  );
  const small = matchMedia(NARROW);
  small.addEventListener("change", () => draw(), { signal });
  const ways = new Map();
  const lists = new Map();
  let latest = null;
  let picture = null;
  let asked = "";
  follow((status) => {
    latest = status;
    draw();
  }, signal);

  function narrow() {
    history.replaceState(null, "", href("overview", { q: search.value }));
    if (latest) draw();
  }

  function draw() {
    if (!latest) return;
    const triggers = latest.brokers.flatMap((each) => each.triggers);
    about.textContent = `${counted(latest.brokers.length, "broker")}, ${counted(triggers.length, "trigger")}, ${counted(latest.sources.length, "source")}`;
    refill(numbers, totals(latest, triggers));
    refill(troubles, inTrouble(latest, triggers));
    const brokers = found(latest, search.value);
    const shown = brokers.flatMap((each) => each.triggers);
    if (!brokers.length) {
      picture = null;
      folded.textContent = "";
      place.replaceChildren(
        latest.brokers.length ? empty("Nothing is called that", "Change the search above.") : nothing(),
      );
    } else if (shown.length > MOST || small.matches) {
      picture = null;
      folded.textContent = small.matches
        ? ""
        : `${count(shown.length)} triggers are too many for a picture: search for some of them to see it.`;
      list(brokers);
    } else {
      folded.textContent = "";
      lists.clear();
      drawPicture(brokers);
    }
  }

  function drawPicture(brokers) {
    const sources = latest.sources.filter((each) => brokers.some((broker) => broker.name === each.broker));
    learn(brokers);
    if (picture?.isConnected && picture.update(brokers, sources)) return;
    const focused = document.activeElement?.closest?.(".graph a")?.getAttribute("href");
    picture = graph(brokers, sources, ways);
    place.replaceChildren(h("div", { class: "card scrolls" }, picture), legend());
    if (focused)
      [...picture.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
  }

  /** Ask where dead letters and replies go, where that is not known of a trigger. */
  async function learn(brokers) {
    const unknown = brokers.filter((broker) => broker.triggers.some((each) => !ways.has(each.name)));
    const names = unknown.map((each) => each.name).join(" ");
    if (!names || names === asked) return;
    asked = names;
    for (const broker of unknown) {
      try {
        const { triggers } = await get(`/api/v1/brokers/${broker.name}/triggers`, signal);
        for (const each of triggers) ways.set(each.name, each);
      } catch {
        asked = ""; // it is asked again when the status comes next
        return;
      }
    }
    picture = null;
    draw();
  }

  function list(brokers) {
    const names = brokers.map((each) => each.name);
    for (const each of brokers)
      if (!lists.has(each.name)) lists.set(each.name, folding(each, brokers.length < 4));
    const wanted = names.map((each) => lists.get(each).element);
    if (wanted.some((each, at) => place.children[at] !== each) || place.children.length !== wanted.length)
      place.replaceChildren(...wanted);
    for (const each of brokers) lists.get(each.name).show(each);
  }
}

function found(status, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return status.brokers;
  return status.brokers
    .map((broker) =>
      broker.name.toLowerCase().includes(wanted)
        ? broker
        : {
            ...broker,
            triggers: broker.triggers.filter((each) =>
              [each.name, each.subscriber].some((value) => value.toLowerCase().includes(wanted)),
            ),
          },
    )
    .filter((broker) => broker.triggers.length || broker.name.toLowerCase().includes(wanted));
}

function* totals(status, triggers) {
  const sum = (each) => each.reduce((one, other) => (one === null || other === null ? null : one + other), 0);
  const oldest = triggers
    .map((each) => each.oldestWaiting)
    .filter(Boolean)
    .sort()[0];
  const told = [
    ["accepted", rate(sum(status.brokers.map((each) => perSecond("broker", each.name, "accepted"))))],
    ["delivered", rate(sum(triggers.map((each) => perSecond("trigger", each.name, "delivered"))))],
    ["under way", count(sum(triggers.map((each) => each.inFlight)))],
    ["waiting", count(sum(triggers.map((each) => each.waiting)))],
    ["the oldest waits", oldest ? duration((Date.now() - new Date(oldest)) / 1000) : "–"],
    ["dead-lettered", count(sum(triggers.map((each) => each.deadLettered)))],
  ];
  for (const [what, value] of told) yield h("div", null, h("dt", null, what), h("dd", null, value));
}

function* inTrouble(status, triggers) {
  for (const each of status.brokers)
    if (each.unavailable)
      yield notice("bad", h("strong", null, each.name), ` takes no events: ${each.unavailable}`);
  if (status.problems.length) {
    yield notice(
      "bad",
      "The last change of the manifests was refused. What ran before still runs. ",
      link("manifests", {}, counted(status.problems.length, "problem")),
    );
  }
  for (const each of status.sources)
    if (each.error)
      yield notice(
        "warn",
        h("strong", null, `${each.kind} ${each.name}`),
        ` is ${each.state}: ${each.error}`,
      );
  const starting = status.workers.filter((each) => each.state !== "running");
  if (starting.length)
    yield notice(
      "warn",
      `${starting.length} of ${counted(status.workers.length, "process", "es")} of the mesh are starting.`,
    );
  const lost = triggers.filter((each) => each.unaccounted);
  if (lost.length)
    yield notice(
      "bad",
      `${counted(lost.length, "trigger")} cannot account for all events: `,
      link("triggers", { q: lost[0].name }, lost[0].name),
    );
  const stopped = triggers.filter((each) => each.state === "paused");
  if (stopped.length) {
    yield notice(
      "warn",
      stopped.length === 1
        ? [
            link("trigger", { name: stopped[0].name }, stopped[0].name),
            ` makes no attempts: ${stopped[0].why ?? "paused"}`,
          ]
        : [link("triggers", { state: "paused" }, counted(stopped.length, "trigger")), " make no attempts."],
    );
  }
  if (status.brokers.length && status.brokers.every((each) => !each.accepted)) {
    yield notice(
      "info",
      "No event has come in yet. ",
      link("send", {}, "Send one"),
      " and see where it goes.",
    );
  }
  if (!status.parts.includes("dispatcher"))
    yield notice(
      "info",
      "Triggers run in other processes: what they do is told by the console of a dispatcher.",
    );
}

function nothing() {
  return empty(
    "Nothing runs yet",
    "Put a Broker and a Trigger into the manifests that the mesh was started with: it follows changes of them.",
    h("a", { class: "button", href: href("manifests") }, "To the manifests"),
  );
}

function legend() {
  return h(
    "p",
    { class: "legend muted" },
    h("span", { class: "flows" }, "events flow"),
    h("span", { class: "dead" }, "dead letters"),
    h("span", { class: "reply" }, "replies that go elsewhere"),
  );
}
