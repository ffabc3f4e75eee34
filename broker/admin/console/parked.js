// What an ordered trigger has parked, and what is done with it.

import { poll, post } from "./api.js";
import { button, h, prompt, time, toast } from "./ui.js";

const EVERY = 3; // seconds

/** @param {string} path of the trigger @param {AbortSignal} signal @returns {HTMLElement} */
export function parked(path, signal) {
  const place = h("div", { class: "parked" });
  let drawn = "";
  poll(`${path}/parked`, EVERY, draw, signal, (error) => {
    drawn = "";
    place.replaceChildren(h("p", { class: "bad" }, error.message));
  });
  return place;

  function draw({ parked: all }) {
    const now = JSON.stringify(all);
    if (now === drawn) return;
    drawn = now;
    if (!all.length) {
      place.replaceChildren(h("p", { class: "muted" }, "None: no key is held up."));
      return;
    }
    place.replaceChildren(
      ...all.map((each) =>
        h(
          "div",
          { class: "bar" },
          h(
            "span",
            null,
            h("strong", null, each.key),
            ` ${each.why.reason}, event ${each.id}, since `,
            time(each.since),
          ),
          button("Try again…", () => order(each, "retry", "tried again")),
          button("Give up…", () => order(each, "skip", "given up")),
        ),
      ),
    );
  }

  async function order(event, verb, done) {
    const why = await prompt(`Why shall the event ${event.id} be ${done}?`, {
      yes: verb === "retry" ? "Try again" : "Give up",
    });
    if (why === null) return;
    try {
      await post(`${path}/parked/${verb}`, {
        id: event.id,
        source: event.source,
        why: why || `${done} in the console`,
      });
      toast(`The event ${event.id} is ${done} within seconds.`);
    } catch (error) {
      toast(error.message, "bad");
    }
  }
}
