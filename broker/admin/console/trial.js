// Tests an event against a trigger: nothing is stored or sent.

import { get, post } from "./api.js";
import { badge, field, h } from "./ui.js";

const EXAMPLE = { specversion: "1.0", id: "1", source: "/somewhere", type: "com.example.something" };

/** @param {string} broker @param {string} trigger @returns {HTMLElement} */
export function trial(broker, trigger) {
  const path = `/api/v1/brokers/${broker}/explain`;
  const text = h("textarea", { rows: 7, spellcheck: "false", value: JSON.stringify(EXAMPLE, null, 2) });
  const id = h("input", { placeholder: "of an event that came in" });
  const verdict = h("div", { role: "status", class: "verdict" });
  return h(
    "div",
    { class: "trial" },
    h(
      "form",
      {
        onsubmit: (event) => (
          event.preventDefault(),
          tell(() => post(path, text.value, { "Content-Type": "application/cloudevents+json" }))
        ),
      },
      field("An event as JSON", text),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "submit", class: "primary" }, "Test it"),
        h("small", null, "Nothing is stored or sent."),
      ),
    ),
    h(
      "form",
      { onsubmit: (event) => (event.preventDefault(), stored()) },
      field("Or its id", h("span", { class: "bar" }, id, h("button", { type: "submit" }, "Test this one"))),
    ),
    verdict,
  );

  function stored() {
    return tell(() => get(`${path}?${new URLSearchParams({ id: id.value })}`));
  }

  async function tell(ask) {
    try {
      const own = (await ask()).triggers.find((each) => each.name === trigger);
      verdict.replaceChildren(
        own.matches
          ? h("p", null, badge("matches", "good"), " It would be delivered.")
          : h("p", null, badge("does not match", "warn"), " It is kept out by:"),
        h(
          "ul",
          null,
          own.clauses.map((each) => h("li", null, h("code", null, each.text))),
        ),
      );
    } catch (error) {
      verdict.replaceChildren(h("p", { class: "bad" }, error.message));
    }
  }
}
