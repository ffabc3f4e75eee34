// The story of an event: how it came in, what each trigger made of it, and why some got nothing.

import { get } from "../api.js";
import { attributesView } from "../payload.js";
import { passage, verdict } from "../telling.js";
import { badge, count, empty, h, heading, href, link, notice, time } from "../ui.js";

export const title = "The story of an event";

const EVERY = 2000; // milliseconds, while something is still to come

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const id = query.get("id") ?? "";
  const source = query.get("source");
  const wanted = h("input", {
    type: "search",
    value: id,
    placeholder: "Event id",
    "aria-label": "Event id",
    spellcheck: "false",
  });
  const place = h("div", { class: "page" });
  root.append(
    heading(
      "The story of an event",
      h("form", { class: "bar", role: "search", onsubmit: find }, wanted, h("button", null, "Tell it")),
    ),
    place,
  );
  if (!id) {
    place.append(
      empty(
        "Which event?",
        "Give its id above, or choose one from the list.",
        h("a", { class: "button", href: href("events", { view: "known" }) }, "Known events"),
      ),
    );
    return wanted.focus();
  }
  const path = `/api/v1/story?${new URLSearchParams(source ? { id, source } : { id })}`;
  let before = "";
  while (!signal.aborted) {
    try {
      const told = await get(path, signal);
      if (JSON.stringify(told) !== before) draw(told);
      before = JSON.stringify(told);
      if (!told.stories.some(goesOn)) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) return void place.replaceChildren(unknown(error.message));
      place.prepend(notice("bad", error.message));
      return;
    }
    await new Promise((done) => setTimeout(done, EVERY));
  }

  function find(event) {
    event.preventDefault();
    location.hash = href("story", { id: wanted.value.trim() });
  }

  function unknown(why) {
    return empty(
      "Nothing is known of it",
      `${why[0].toUpperCase()}${why.slice(1)}.`,
      h("a", { class: "button", href: href("events", { view: "known" }) }, "Known events"),
      h("a", { class: "button", href: href("events") }, "Watch events come in"),
    );
  }

  /** Draw it anew; what was unfolded stays so. */
  function draw({ stories }) {
    const unfolded = new Set([...place.querySelectorAll("details[open]")].map((each) => each.dataset.of));
    const several =
      stories.length > 1
        ? [notice("info", `${stories.length} sources have sent an event with this id.`)]
        : [];
    place.replaceChildren(...several, ...stories.map(one));
    for (const each of place.querySelectorAll("details")) each.open ||= unfolded.has(each.dataset.of);
  }
}

function goesOn(story) {
  const began = Math.max(...story.accepted.map((each) => new Date(each.at)), 0);
  const isNew = Date.now() - began < 30_000;
  return story.triggers.some(
    (each) => each.outcome === "waiting" || (each.outcome === null && each.matches && isNew),
  );
}

function one(story) {
  const others = story.triggers.filter((each) => verdict(each).word === "not matched");
  const told = story.triggers
    .filter((each) => !others.includes(each))
    .sort((one, other) => rank(one) - rank(other));
  return h(
    "article",
    { class: "story" },
    h(
      "section",
      { class: "card", "aria-label": "In short" },
      h("h2", { class: "said" }, story.event?.type ?? "Event", " ", h("span", { class: "mono" }, story.id)),
      h("p", { class: "short" }, inShort(story)),
      origins(story),
    ),
    told.map((each) => passage(each, story)),
    others.length ? unmatched(others, story) : null,
    h(
      "section",
      { class: "card", "aria-label": "The event" },
      h("h2", null, "The event"),
      story.event
        ? attributesView(story.event)
        : h("p", { class: "muted" }, `Its attributes are not shown: ${story.eventMissing}.`),
    ),
  );
}

const WORST_FIRST = ["dead-lettered", "parked", "waiting", "matched", "not known", "delivered"];

function rank(trigger) {
  return WORST_FIRST.indexOf(verdict(trigger).word);
}

function inShort(story) {
  const counts = new Map();
  for (const each of story.triggers) {
    const { word, kind } = verdict(each);
    const known = counts.get(word) ?? { many: 0, kind };
    counts.set(word, { many: known.many + 1, kind });
  }
  if (!counts.size) return "No trigger of the broker has to do with it.";
  return [...counts].map(([word, { many, kind }]) => [badge(`${count(many)} ${word}`, kind), " "]);
}

function origins(story) {
  const came = story.accepted.map((each) => [
    h("dt", null, "Accepted"),
    h(
      "dd",
      null,
      time(each.at),
      ` by ${each.broker}, ${ORIGINS[each.origin.kind]} `,
      h("span", { class: "said" }, each.origin.who),
    ),
  ]);
  return h(
    "dl",
    { class: "facts" },
    h("dt", null, "Source"),
    h("dd", { class: "said" }, story.source),
    came.length
      ? came
      : [
          h("dt", null, "Accepted"),
          h(
            "dd",
            { class: "muted" },
            "Not noted: it came in by another process, or no sample was taken of it.",
          ),
        ],
    story.replyTo ? [h("dt", null, "Reply to"), h("dd", null, to(story.replyTo))] : null,
    story.replies.length
      ? [
          h("dt", null, "Replies"),
          h(
            "dd",
            null,
            story.replies.map((each) => [to(each), " "]),
          ),
        ]
      : null,
  );
}

const ORIGINS = {
  request: "by a request from",
  source: "from the source",
  reply: "as a reply to",
  redrive: "redriven for",
  announcement: "announced to",
};

function to(event) {
  return link("story", event, event.id, { class: "said" });
}

/** Those that it is not for, which may be a thousand: they are drawn when somebody unfolds them. */
function unmatched(triggers, story) {
  const place = h("div");
  const unfold = () => place.firstChild ?? place.append(...triggers.map((each) => passage(each, story)));
  return h(
    "details",
    { class: "card", "data-of": `others ${story.source}`, ontoggle: unfold },
    h(
      "summary",
      null,
      `${count(triggers.length)} more ${triggers.length === 1 ? "trigger does" : "triggers do"} not match it`,
    ),
    place,
  );
}
