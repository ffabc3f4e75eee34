// Brokers, triggers and the way between them, with what flows and what is the matter.

import { get } from "../api.js";
import { graph } from "../graph.js";
import { follow, health, perSecond } from "../status.js";
import { badge, count, duration, empty, h, heading, href, link, notice, rate, table } from "../ui.js";

export const title = "Overview";

const MOST = 60; // triggers that a picture can be read with
const NARROW = "(max-width: 760px)";

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const about = h("span");
  const numbers = h("dl", { class: "numbers" });
  const troubles = h("div", { class: "troubles" });
  const search = h("input", { type: "search", placeholder: "Name or subscriber", "aria-label": "Search brokers and triggers", value: query.get("q") ?? "", oninput: narrow });
  const folded = h("p", { class: "muted" });
  const place = h("div", { class: "ways-of-events" });
  root.append(heading("Overview", about), h("section", { class: "card", "aria-label": "Now" }, numbers), troubles, h("div", { class: "bar" }, search, folded), place);
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
    about.textContent = `${named(latest.brokers, "broker")}, ${named(triggers, "trigger")}, ${named(latest.sources, "source")}`;
    numbers.replaceChildren(...totals(latest, triggers));
    troubles.replaceChildren(...inTrouble(latest, triggers));
    const brokers = found(latest, search.value);
    const shown = brokers.flatMap((each) => each.triggers);
    if (!brokers.length) {
      picture = null;
      folded.textContent = "";
      place.replaceChildren(latest.brokers.length ? empty("Nothing is called that", "Change the search above.") : nothing());
    } else if (shown.length > MOST || small.matches) {
      picture = null;
      folded.textContent = small.matches ? "" : `${count(shown.length)} triggers are too many for a picture: search for some of them to see it.`;
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
    if (focused) [...picture.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
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
    for (const each of brokers) if (!lists.has(each.name)) lists.set(each.name, folding(each, brokers.length < 4));
    const wanted = names.map((each) => lists.get(each).element);
    if (wanted.some((each, at) => place.children[at] !== each) || place.children.length !== wanted.length) place.replaceChildren(...wanted);
    for (const each of brokers) lists.get(each.name).show(each);
  }
}

/** A broker of the list, which can be opened. */
function folding(broker, open) {
  const about = h("span", { class: "muted" });
  const rows = table({
    label: `Triggers of ${broker.name}`,
    columns: COLUMNS,
    rows: broker.triggers,
    key: (each) => each.name,
    onOpen: (each) => (location.hash = href("trigger", { name: each.name })),
    none: empty("No trigger takes from this broker", "What comes in is kept, and goes nowhere."),
  });
  const element = h("details", { class: "folding", open }, h("summary", null, h("strong", null, broker.name), " ", about), rows);
  return {
    element,
    show: (newer) => {
      const troubled = newer.triggers.filter((each) => health(each).kind !== "good").length;
      about.replaceChildren(
        `${named(newer.triggers, "trigger")}, ${rate(perSecond("broker", newer.name, "accepted"))} accepted `,
        troubled ? badge(`${count(troubled)} not just running`, "warn") : "",
        newer.unavailable ? badge("takes no events", "bad") : "",
      );
      rows.update(newer.triggers);
    },
  };
}

const COLUMNS = [
  { name: "name", title: "Trigger", by: (each) => each.name, cell: (each) => each.name },
  { name: "state", title: "State", by: (each) => each.state, cell: (each) => badge(health(each).word, health(each).kind), width: "6.4rem" },
  { name: "rate", title: "Delivered", numeric: true, by: (each) => perSecond("trigger", each.name, "delivered") ?? -1, cell: (each) => rate(perSecond("trigger", each.name, "delivered")), width: "5.9rem" },
  { name: "waiting", title: "Waiting", numeric: true, by: (each) => each.waiting, cell: (each) => count(each.waiting), width: "6rem", wide: true },
  { name: "dead", title: "Dead", numeric: true, by: (each) => each.deadLettered, cell: (each) => count(each.deadLettered), width: "4.4rem" },
  { name: "subscriber", title: "Subscriber", by: (each) => each.subscriber, cell: (each) => each.subscriber, width: "40%", wide: true },
];

function found(status, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return status.brokers;
  return status.brokers
    .map((broker) =>
      broker.name.toLowerCase().includes(wanted)
        ? broker
        : { ...broker, triggers: broker.triggers.filter((each) => [each.name, each.subscriber].some((value) => value.toLowerCase().includes(wanted))) },
    )
    .filter((broker) => broker.triggers.length || broker.name.toLowerCase().includes(wanted));
}

function* totals(status, triggers) {
  const sum = (each) => each.reduce((one, other) => (one === null || other === null ? null : one + other), 0);
  const oldest = triggers.map((each) => each.oldestWaiting).filter(Boolean).sort()[0];
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
  for (const each of status.brokers) if (each.unavailable) yield notice("bad", h("strong", null, each.name), ` takes no events: ${each.unavailable}`);
  if (status.problems.length) {
    yield notice("bad", "The last change of the manifests was refused. What ran before still runs. ", link("manifests", {}, `${named(status.problems, "problem")}`));
  }
  for (const each of status.sources) if (each.error) yield notice("warn", h("strong", null, `${each.kind} ${each.name}`), ` is ${each.state}: ${each.error}`);
  const starting = status.workers.filter((each) => each.state !== "running");
  if (starting.length) yield notice("warn", `${starting.length} of ${named(status.workers, "process", "es")} of the mesh are starting.`);
  const lost = triggers.filter((each) => each.unaccounted);
  if (lost.length) yield notice("bad", `${named(lost, "trigger")} cannot account for all events: `, link("triggers", { q: lost[0].name }, lost[0].name));
  const stopped = triggers.filter((each) => each.state === "paused");
  if (stopped.length) {
    yield notice("warn", stopped.length === 1 ? [link("trigger", { name: stopped[0].name }, stopped[0].name), ` makes no attempts: ${stopped[0].why ?? "paused"}`] : [link("triggers", { state: "paused" }, `${named(stopped, "trigger")}`), " make no attempts."]);
  }
  if (status.brokers.length && status.brokers.every((each) => !each.accepted)) {
    yield notice("info", "No event has come in yet. ", link("send", {}, "Send one"), " and see where it goes.");
  }
  if (!status.parts.includes("dispatcher")) yield notice("info", "Triggers run in other processes: what they do is told by the console of a dispatcher.");
}

function nothing() {
  return empty(
    "Nothing runs yet",
    "Put a Broker and a Trigger into the manifests that the mesh was started with: it follows changes of them.",
    h("a", { class: "button", href: href("manifests") }, "To the manifests"),
  );
}

function legend() {
  return h("p", { class: "legend muted" }, h("span", { class: "flows" }, "events flow"), h("span", { class: "dead" }, "dead letters"), h("span", { class: "reply" }, "replies that go elsewhere"));
}

function named(all, one, ending = "s") {
  return `${count(all.length)} ${one}${all.length === 1 ? "" : ending}`;
}
