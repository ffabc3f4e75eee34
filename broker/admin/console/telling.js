// What a trigger made of an event, in words.

import { badge, duration, h, link, time } from "./ui.js";

/**
 * @param {any} trigger as a story has it
 * @returns {{word: string, kind: "good" | "warn" | "bad" | "info" | "muted"}}
 */
export function verdict(trigger) {
  if (trigger.outcome) return { word: trigger.outcome, kind: KINDS[trigger.outcome] };
  if (trigger.matches === false) return { word: "not matched", kind: "muted" };
  if (trigger.matches) return { word: "matched", kind: "info" };
  return { word: "not known", kind: "muted" };
}

const KINDS = { delivered: "good", waiting: "warn", parked: "warn", "dead-lettered": "bad" };

/** What a trigger made of the event: in a sentence, and each step. */
export function passage(trigger, story) {
  const { word, kind } = verdict(trigger);
  return h(
    "section",
    { class: "card passage", "aria-label": trigger.name },
    h(
      "header",
      { class: "bar" },
      h("h3", null, link("trigger", { name: trigger.name }, trigger.name)),
      badge(word, kind),
    ),
    h("p", null, inWords(trigger)),
    state(trigger),
    trigger.clauses.length && !trigger.outcome
      ? h(
          "ul",
          { class: "clauses" },
          trigger.clauses.map((each) => h("li", { class: "mono said" }, each.text)),
        )
      : null,
    trigger.steps.length ? steps(trigger, story) : null,
  );
}

function inWords(trigger) {
  const attempts = `${trigger.attempts} ${trigger.attempts === 1 ? "attempt" : "attempts"}`;
  const reason = trigger.reason ? h("span", { class: "said" }, `: ${trigger.reason}`) : null;
  switch (trigger.outcome) {
    case "delivered":
      return trigger.attempts > 1 ? `Delivered after ${attempts}.` : "Delivered at the first attempt.";
    case "waiting":
      return [
        trigger.attempts ? `Waits after ${attempts}` : "Waits for its first attempt",
        trigger.until ? [" until ", time(trigger.until)] : null,
        reason ?? ".",
      ];
    case "parked":
      return ["Parked after ", attempts, ", until an operator retries or skips it", reason ?? "."];
    case "dead-lettered":
      return [
        `Given up after ${attempts}`,
        reason ?? "",
        ". ",
        link("deadletters", { trigger: trigger.name }, "Dead letters of this trigger"),
      ];
    default:
      if (trigger.matches === false) return "Its filter keeps the event out:";
      return trigger.matches
        ? "Its filter lets the event through; nothing more is noted yet."
        : "The event is not kept any more, so that its filter cannot be asked.";
  }
}

function state(trigger) {
  if (
    !trigger.state ||
    trigger.state === "running" ||
    trigger.outcome === "delivered" ||
    trigger.matches === false
  )
    return null;
  return h(
    "p",
    { class: "warn" },
    `The trigger is ${trigger.state} now${trigger.why ? `: ${trigger.why}` : "."}`,
  );
}

function steps(trigger, story) {
  return h(
    "details",
    { "data-of": `${story.source} ${trigger.name}`, open: trigger.outcome !== "delivered" },
    h("summary", null, `${trigger.steps.length} ${trigger.steps.length === 1 ? "step" : "steps"}`),
    h(
      "ol",
      { class: "steps" },
      trigger.steps.map((each) => h("li", null, each.step === "attempt" ? attempt(each) : decision(each))),
    ),
  );
}

const VERDICTS = { delivered: "good", retry: "warn", "give up": "bad" };

function attempt(step) {
  const answer = step.reason ?? (step.status === null ? "" : `answered ${step.status}`);
  const what = step.untried ? "not tried" : `attempt ${step.number}`;
  return [
    h(
      "p",
      { class: "bar" },
      time(step.at),
      h("strong", null, step.to === "subscriber" ? what : `${what} at the dead-letter sink`),
      badge(step.verdict, VERDICTS[step.verdict]),
      h("span", { class: "muted" }, duration(step.seconds)),
    ),
    h("p", { class: "said" }, answer, h("span", { class: "muted" }, ` by ${step.destination}`)),
    step.reply ? h("p", null, "Replied with ", link("story", step.reply, step.reply.id)) : null,
    step.bodyText ? h("pre", { class: "said", "aria-label": "The answer" }, step.bodyText) : null,
    step.headers.length
      ? h("p", { class: "muted said" }, step.headers.map(([name, value]) => `${name}: ${value}`).join(", "))
      : null,
    step.trace ? h("p", { class: "muted mono" }, `trace ${step.trace}`) : null,
  ];
}

const BECAME = {
  waits: "waits for its next attempt",
  parked: "parked: an operator has to decide",
  retried: "retried by an operator",
  "dead-lettered": "went to the dead-letter sink",
  buried: "went into the broker's dead letters",
};

function decision(step) {
  return [
    h(
      "p",
      { class: "bar" },
      time(step.at),
      h("strong", null, BECAME[step.became]),
      step.until ? h("span", null, "until ", time(step.until)) : null,
    ),
    step.reason ? h("p", { class: "said" }, step.reason) : null,
  ];
}
