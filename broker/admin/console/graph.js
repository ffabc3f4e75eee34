// The way of events as a picture: sources and senders, brokers, triggers, and where triggers send.

import { health, perSecond } from "./status.js";
import { count, href, rate, svg } from "./ui.js";

const COLUMNS = { source: 0, broker: 230, trigger: 470, target: 760 };
const WIDTHS = { source: 180, broker: 190, trigger: 240, target: 260 };
const WIDE = COLUMNS.target + WIDTHS.target;
const HIGH = 40; // of a box
const GAP = 10;
const BETWEEN = 26; // brokers

/**
 * @typedef {{x: number, y: number, kind: string, name: string, page: string, query: any, title: string}} Box
 * @typedef {{from: Box, to: Box, kind: string, flow: (() => number | null)}} Way
 */

/**
 * Draw brokers with what leads there and away. `update(brokers, sources)` of what is returned puts
 * in what has changed, and returns false where that needs another picture.
 * @param {any[]} brokers of the status, with the triggers to be shown
 * @param {any[]} sources of the status
 * @param {Map<string, {deadLetterSink: string | null, reply: string | null}>} ways by trigger
 */
export function graph(brokers, sources, ways) {
  const shape = shapeOf(brokers, sources, ways);
  const { boxes, edges, high } = laidOut(brokers, sources, ways);
  const drawn = boxes.map(box);
  const lines = edges.map(way);
  const left = sources.length ? 0 : COLUMNS.broker - 2;
  const picture = svg(
    "svg",
    {
      class: "graph",
      viewBox: `${left} 0 ${WIDE - left} ${high}`,
      role: "group",
      "aria-label": "The way of events",
    },
    svg(
      "g",
      { class: "ways" },
      lines.map((each) => each.element),
    ),
    svg(
      "g",
      null,
      drawn.map((each) => each.element),
    ),
  );
  picture.update = (newer, newerSources) => {
    if (shapeOf(newer, newerSources, ways) !== shape) return false;
    const known = new Map([
      ...newer.map((each) => [`broker ${each.name}`, each]),
      ...newer.flatMap((each) => each.triggers).map((each) => [`trigger ${each.name}`, each]),
      ...newerSources.map((each) => [`source ${each.kind} ${each.name}`, each]),
    ]);
    for (const each of drawn) each.show(known.get(each.id));
    for (const each of lines) each.show();
    return true;
  };
  picture.update(brokers, sources);
  return picture;
}

/** All that the picture has to be made anew for, where it changes. */
function shapeOf(brokers, sources, ways) {
  return JSON.stringify([
    brokers.map((broker) => [
      broker.name,
      broker.triggers.map((each) => [each.name, each.subscriber, ways.has(each.name), each.deadLettered > 0]),
    ]),
    sources.map((each) => [each.kind, each.name, each.broker]),
  ]);
}

function laidOut(brokers, sources, ways) {
  /** @type {Box[]} */
  const boxes = [];
  /** @type {Way[]} */
  const edges = [];
  let top = 2;
  for (const broker of brokers) {
    const own = sources.filter((each) => each.broker === broker.name);
    const centre = boxes.length;
    const node = place("broker", 0, broker.name, "events", { broker: broker.name });
    boxes.push(node);
    let y = top;
    for (const each of broker.triggers) {
      const trigger = place("trigger", 0, each.name, "trigger", { name: each.name });
      const targets = targetsOf(each, ways.get(each.name)).map(({ kind, name, page, query, what }, at) => {
        const target = place(`target ${kind}`, y + at * (HIGH + GAP), name, page, query, what);
        const flow = { subscriber: "delivered", dead: "deadLettered" }[kind];
        edges.push({
          from: trigger,
          to: target,
          kind,
          flow: () => (flow ? perSecond("trigger", each.name, flow) : null),
        });
        return target;
      });
      trigger.y = (targets[0].y + targets.at(-1).y) / 2;
      edges.push({
        from: node,
        to: trigger,
        kind: "matched",
        flow: () => perSecond("trigger", each.name, "matched"),
      });
      boxes.push(trigger, ...targets);
      y = targets.at(-1).y + HIGH + GAP;
    }
    const high = Math.max(y - top - GAP, own.length * (HIGH + GAP) - GAP, HIGH);
    boxes[centre].y = top + (high - HIGH) / 2;
    own.forEach((each, at) => {
      const source = place(
        "source",
        top + (high - own.length * (HIGH + GAP) + GAP) / 2 + at * (HIGH + GAP),
        `${each.kind} ${each.name}`,
        "manifests",
        {},
      );
      edges.push({
        from: source,
        to: node,
        kind: "emitted",
        flow: () => perSecond("source", source.name, "emitted"),
      });
      boxes.push(source);
    });
    top += high + BETWEEN;
  }
  return { boxes, edges, high: top - BETWEEN + 2 };
}

/** @returns {Box} */
function place(kind, y, name, page, query, what = "") {
  return { x: COLUMNS[kind.split(" ")[0]], y, kind, name, page, query, what };
}

/** Where a trigger sends: to its subscriber, and what it gives up, and replies, if those go elsewhere. */
function targetsOf(trigger, way) {
  const found = [{ kind: "subscriber", ...named(trigger.subscriber, "trigger", { name: trigger.name }) }];
  const letters = way?.deadLetterSink;
  if (letters)
    found.push({ kind: "dead", what: "dead letters", ...named(letters, "trigger", { name: trigger.name }) });
  else if (trigger.deadLettered)
    found.push({
      kind: "dead",
      what: "dead letters",
      name: "kept by the broker",
      page: "deadletters",
      query: { trigger: trigger.name },
    });
  if (way?.reply)
    found.push({ kind: "reply", what: "replies", ...named(way.reply, "trigger", { name: trigger.name }) });
  return found;
}

function named(url, page, query) {
  const broker = /^broker:\/\/(.*)$/.exec(url)?.[1];
  return broker
    ? { name: `Broker ${broker}`, page: "overview", query: { q: broker } }
    : { name: url, page, query };
}

function box(each) {
  const [place] = each.kind.split(" ");
  const wide = WIDTHS[place];
  const title = svg("title", null, each.name);
  const name = svg("text", { x: 12, y: each.what || place !== "target" ? 16.5 : 25 }, short(each.name, wide));
  const below = svg("text", { x: 12, y: 32, class: "below" }, each.what);
  const bar = svg("rect", { class: "bar", width: 3, height: HIGH - 12, x: 5, y: 6, rx: 1.5 });
  const element = svg(
    "a",
    {
      href: href(each.page, each.query),
      class: `box ${each.kind}`,
      transform: `translate(${each.x} ${each.y})`,
    },
    title,
    svg("rect", { width: wide, height: HIGH, rx: 6 }),
    place === "target" ? null : bar,
    name,
    below,
  );
  return {
    element,
    id: `${place} ${each.name}`,
    show: (known) => {
      if (!known) return;
      const { text, kind, why } = TOLD[place](known);
      below.textContent = text;
      bar.setAttribute("class", `bar ${kind}`);
      title.textContent = why ? `${each.name}: ${why}` : each.name;
    },
  };
}

const TOLD = {
  broker: (each) => ({
    text: each.unavailable
      ? "takes no events"
      : `${rate(perSecond("broker", each.name, "accepted"))} accepted`,
    kind: each.unavailable ? "bad" : "good",
    why: each.unavailable,
  }),
  trigger: (each) => {
    const { word, kind } = health(each);
    const waits = each.waiting ? `, ${count(each.waiting)} waiting` : "";
    const what = kind === "good" ? rate(perSecond("trigger", each.name, "delivered")) : word;
    return { text: `${what}${waits}`, kind, why: each.why };
  },
  source: (each) => ({
    text:
      each.state === "running"
        ? rate(perSecond("source", `${each.kind} ${each.name}`, "emitted"))
        : each.state,
    kind: { running: "good", standby: "muted" }[each.state] ?? "bad",
    why: each.error,
  }),
};

function way({ from, to, kind, flow }) {
  const x = from.x + WIDTHS[from.kind.split(" ")[0]];
  const [y, end] = [from.y + HIGH / 2, to.y + HIGH / 2];
  const half = (x + to.x) / 2;
  const element = svg("path", { class: kind, d: `M${x} ${y} C${half} ${y} ${half} ${end} ${to.x} ${end}` });
  return {
    element,
    show: () => {
      const now = flow() ?? 0;
      element.classList.toggle("flows", now > 0);
      element.style.strokeWidth = String(now > 0 ? Math.min(5, 1.5 + Math.log10(1 + now)) : 1.2);
    },
  };
}

/** Cut to what fits: the end of a long name tells more than its middle. */
function short(name, wide) {
  const fits = Math.floor((wide - 20) / 7.1);
  if (name.length <= fits) return name;
  const head = Math.ceil(fits * 0.45);
  return `${name.slice(0, head)}…${name.slice(name.length - (fits - head - 1))}`;
}
