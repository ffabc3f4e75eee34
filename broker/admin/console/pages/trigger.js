// One trigger: what it does, what it takes, how it delivers, and what it would make of an event.

import { get, post } from "../api.js";
import { line } from "../chart.js";
import { delivery } from "../delivery.js";
import { latency } from "../latency.js";
import { parked } from "../parked.js";
import { SPAN, follow, health, overTime, perSecond, refresh } from "../status.js";
import { trial } from "../trial.js";
import {
  age,
  badge,
  button,
  count,
  duration,
  h,
  heading,
  href,
  link,
  notice,
  prompt,
  rate,
  refill,
  time,
  toast,
} from "../ui.js";
import { inWords } from "../words.js";

export const title = "Trigger";

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const name = query.get("name") ?? "";
  document.title = `${name} · cemesh`;
  const path = `/api/v1/triggers/${name.split("/").map(encodeURIComponent).join("/")}`;
  const policy = await get(`${path}/delivery`, signal);
  const state = h("span");
  const why = h("div");
  const numbers = h("dl", { class: "numbers" });
  const charts = h("div", { class: "charts" });
  const toggle = button("Pause…", pause);
  const broker = h("span", { class: "about" });
  const rest = h("div", { class: "cards" });
  root.append(
    heading(
      name,
      h("span", { class: "bar" }, state, broker),
      toggle,
      h("a", { class: "button", href: href("events", { trigger: name }) }, "Its events"),
      h("a", { class: "button", href: href("deadletters", { trigger: name }) }, "Its dead letters"),
    ),
    why,
    h("section", { class: "card", "aria-label": "Rates" }, numbers, charts),
    rest,
  );
  let known = null;
  let told = false;
  follow((status) => {
    const of = status.brokers.find((each) => each.triggers.some((one) => one.name === name));
    known = of?.triggers.find((each) => each.name === name) ?? null;
    if (!known) {
      why.replaceChildren(
        notice(
          "warn",
          told
            ? "It is gone from the manifests."
            : "It runs in another process: look at the console of a dispatcher.",
        ),
      );
      return;
    }
    draw(of.name);
    if (!told) begin(of.name).catch((error) => signal.aborted || rest.append(notice("bad", error.message)));
    told = true;
  }, signal);

  function draw(of) {
    const { word, kind } = health(known);
    refill(state, [badge(word, kind)]);
    if (broker.textContent === "") broker.append("takes from ", link("overview", { q: of }, of));
    toggle.textContent = known.state === "paused" ? "Resume" : "Pause…";
    refill(why, troubles(known));
    refill(numbers, facts(known, name));
    charts.replaceChildren(...pictures(name));
  }

  async function begin(of) {
    const about = await get(`/api/v1/brokers/${of}/triggers`, signal);
    const own = about.triggers.find((each) => each.name === name);
    rest.append(
      card(
        "What it takes",
        inWords(own),
        h(
          "details",
          null,
          h("summary", null, "As in the manifest"),
          h("pre", null, JSON.stringify(own.filters ?? own.filter, null, 2)),
        ),
      ),
      card("How long it takes", latency(path, signal)),
      card("How it delivers", delivery(policy)),
      card("Test an event", trial(of, name)),
    );
    if (policy.parks) rest.append(card("Parked events", parked(path, signal)));
  }

  async function pause() {
    if (known?.state === "paused") return act("resume", {}, "resumed");
    const why = await prompt(`Why shall ${name} be paused? Its events wait until it is resumed.`, {
      yes: "Pause",
    });
    if (why !== null) await act("pause", { why: why || "paused in the console" }, "paused: its events wait");
  }

  async function act(verb, body, done) {
    toggle.disabled = true;
    try {
      await post(`${path}/${verb}`, body);
      toast(`${name} is ${done}.`);
      await refresh();
    } catch (error) {
      toast(error.message, "bad");
    } finally {
      toggle.disabled = false;
    }
  }
}

function card(name, ...content) {
  return h("section", { class: "card", "aria-label": name }, h("h2", null, name), content);
}

function* troubles(trigger) {
  if (trigger.state !== "running") {
    const until = trigger.until ? [" until ", time(trigger.until)] : "";
    yield notice(
      health(trigger).kind === "bad" ? "bad" : "warn",
      h("strong", null, SAID[trigger.state] ?? trigger.state),
      until,
      trigger.why ? `: ${trigger.why}` : "",
    );
  }
  if (trigger.unaccounted) {
    yield notice(
      "bad",
      `${count(trigger.unaccounted)} events are unaccounted for: neither delivered, nor dead-lettered, nor waiting.`,
    );
  }
}

const SAID = {
  held: "Its subscriber asked for no attempts",
  paused: "It makes no attempts",
  probing: "One attempt at a time tests whether its subscriber works again",
  recovering: "Its subscriber works again, and gets more and more at once",
};

function* facts(trigger, name) {
  const told = [
    ["matched", rate(perSecond("trigger", name, "matched"))],
    ["delivered", rate(perSecond("trigger", name, "delivered"))],
    ["under way", count(trigger.inFlight)],
    ["waiting", count(trigger.waiting)],
    ["the oldest waits", age(trigger.oldestWaiting)],
    ["delivered in all", count(trigger.delivered)],
    ["dead-lettered", count(trigger.deadLettered)],
  ];
  if (trigger.parked) told.push(["parked", count(trigger.parked)]);
  for (const [what, value] of told) yield h("div", null, h("dt", null, what), h("dd", null, value));
}

function* pictures(name) {
  const delivered = overTime("trigger", name, "delivered");
  const dead = overTime("trigger", name, "deadLettered");
  const most = Math.max(0, ...delivered, ...dead);
  if (!delivered.length) return;
  const size = { width: 600, height: 56, kept: 60, most };
  yield line(delivered, { ...size, label: "Delivered per second" });
  yield h(
    "small",
    null,
    `Delivered per second over the last ${duration(SPAN)} that this page was open; at most ${rate(most)}.`,
  );
  if (dead.some(Boolean)) {
    yield line(dead, { ...size, kind: "bad", label: "Dead-lettered per second" });
    yield h("small", null, "Dead-lettered per second.");
  }
}
