// Redriving dead letters, many at once or so many a second. This page does it, and nothing else.

import { post } from "./api.js";
import { button, confirm, count, h, notice } from "./ui.js";

const AT_ONCE = 100; // of one request
const PACES = [
  ["", "as fast as they go"],
  ["100", "100 a second"],
  ["10", "10 a second"],
  ["1", "1 a second"],
];

/**
 * Make a bar that redrives.
 * @param {object} options
 * @param {string} options.broker
 * @param {() => string} options.label what the button says
 * @param {() => Promise<string[]>} options.ids the dead letters, looked for when it begins
 * @param {() => void} options.done called when it has ended
 * @param {AbortSignal} options.signal
 * @returns {HTMLElement & {update: () => void}}
 */
export function redriving({ broker, label, ids, done, signal }) {
  const pace = h(
    "select",
    { "aria-label": "Pace" },
    PACES.map(([value, text]) => h("option", { value }, text)),
  );
  const start = button("", begin, "primary");
  const stop = button("Stop", () => running?.abort(), "danger");
  const bar = h("progress", { "aria-label": "Redriven" });
  const said = h("p", { role: "status" });
  const progress = h(
    "div",
    { class: "card redriving", hidden: true },
    h("div", { class: "bar" }, bar, said, stop),
    h(
      "small",
      null,
      "This page redrives them: when it is left or closed, it stops, and the rest stays where it is.",
    ),
  );
  const result = h("div");
  const element = h("div", { class: "page" }, h("div", { class: "bar" }, start, pace), progress, result);
  let running = null;
  element.update = () => (start.textContent = label());
  element.update();
  return element;

  async function begin() {
    start.disabled = true;
    try {
      const wanted = await ids();
      const many = wanted.length === 1 ? "1 dead letter" : `${count(wanted.length)} dead letters`;
      if (!wanted.length) result.replaceChildren(notice("info", "There are none any more."));
      else if (
        await confirm(`Redrive ${many}? Each goes to the trigger that gave it up, with all its attempts.`, {
          yes: "Redrive",
        })
      )
        await run(wanted);
    } catch (error) {
      if (!signal.aborted) result.replaceChildren(notice("bad", error.message));
    } finally {
      start.disabled = false;
    }
  }

  /** @param {string[]} wanted */
  async function run(wanted) {
    running = new AbortController();
    const stopped = AbortSignal.any([signal, running.signal]);
    const perSecond = Number(pace.value) || Infinity;
    const kept = new Map();
    let redriven = 0;
    let failed = null;
    [progress.hidden, bar.max, bar.value] = [false, wanted.length, 0];
    window.addEventListener("beforeunload", warn);
    try {
      for (let at = 0; at < wanted.length && !stopped.aborted; at = bar.value) {
        const batch = wanted.slice(at, at + Math.min(AT_ONCE, perSecond));
        const until = performance.now() + (1000 * batch.length) / perSecond;
        const answer = await post(`/api/v1/brokers/${broker}/deadletters/redrive`, { ids: batch });
        redriven += answer.redriven.length;
        for (const why of Object.values(answer.kept)) kept.set(why, (kept.get(why) ?? 0) + 1);
        bar.value = at + batch.length;
        said.textContent = `${count(bar.value)} of ${count(wanted.length)}`;
        if (bar.value < wanted.length) await pausing(until - performance.now(), stopped);
      }
    } catch (error) {
      failed = error.message;
    } finally {
      window.removeEventListener("beforeunload", warn);
    }
    running = null;
    progress.hidden = true;
    const left = wanted.length - bar.value;
    const reasons = [...kept].map(([why, many]) => h("li", { class: "said" }, `${count(many)} stay: ${why}`));
    result.replaceChildren(
      notice(
        failed ? "bad" : reasons.length || left ? "warn" : "info",
        `${count(redriven)} redriven`,
        left ? `, ${count(left)} not tried` : "",
        failed ? `: ${failed}` : ".",
        reasons.length ? h("ul", null, reasons) : null,
      ),
    );
    if (!signal.aborted) done();
  }
}

function warn(event) {
  event.preventDefault();
}

/** @param {number} milliseconds @param {AbortSignal} stopped */
function pausing(milliseconds, stopped) {
  return new Promise((done) => {
    const timer = setTimeout(done, Math.max(0, milliseconds || 0));
    stopped.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
