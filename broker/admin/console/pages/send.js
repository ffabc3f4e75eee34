// Send an event into a broker, and see before who would get it.

import { post } from "../api.js";
import { STRUCTURED, editor, newId } from "../editor.js";
import { badge, button, count, empty, field, h, heading, href, link, notice } from "../ui.js";
import { brokersOf } from "./events.js";

export const title = "Send an event";

const SHOWN = 200; // triggers that would not get it

const BEGINS = '{\n  "hello": "world"\n}';

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  root.append(
    heading(
      "Send an event",
      "It goes through the same checks as at the data port, and to all triggers that match.",
    ),
  );
  const brokers = await brokersOf(signal);
  if (signal.aborted) return;
  if (!brokers.length) {
    root.append(
      empty(
        "This mesh has no broker",
        "Declare a Broker in its manifests: events go in there.",
        h("a", { class: "button", href: href("manifests") }, "To the manifests"),
      ),
    );
    return;
  }
  const choice = h(
    "select",
    { "aria-label": "Broker" },
    brokers.map((each) => h("option", { value: each, selected: each === query.get("broker") }, each)),
  );
  const form = editor({
    attributes: {
      specversion: "1.0",
      type: query.get("type") ?? "com.example.hello",
      source: "/console",
      id: newId(),
      datacontenttype: "application/json",
    },
    payload: new TextEncoder().encode(BEGINS),
  });
  const access = h("input", {
    placeholder: "Bearer …",
    "aria-label": "Authorization",
    autocomplete: "off",
    spellcheck: "false",
  });
  const asking = field("Authorization", access, "The broker asks who sends.");
  asking.hidden = true;
  const result = h("div", { role: "status", class: "page" });
  const send = h("button", { class: "primary" }, "Send");
  root.append(
    h(
      "form",
      { class: "card", onsubmit: sending },
      field("Broker", choice),
      form.element,
      asking,
      h(
        "div",
        { class: "actions" },
        send,
        button("Who would get it?", explaining),
        button("New id", () => form.set("id", newId()), "quiet"),
      ),
    ),
    result,
  );

  async function sending(event) {
    event.preventDefault();
    send.disabled = true;
    try {
      const headers = access.value ? { ...STRUCTURED, Authorization: access.value } : STRUCTURED;
      const { broker, events } = await post(`/api/v1/brokers/${choice.value}/send`, form.event(), headers);
      result.replaceChildren(
        notice(
          "info",
          `Stored by ${broker}: `,
          events.map((each) => link("story", each, `the story of ${each.id}`)),
        ),
      );
      form.set("id", newId());
    } catch (error) {
      if (error.status === 401) asking.hidden = false;
      result.replaceChildren(notice("bad", error.message));
    } finally {
      send.disabled = false;
    }
  }

  async function explaining() {
    try {
      const { triggers } = await post(`/api/v1/brokers/${choice.value}/explain`, form.event(), STRUCTURED);
      const matching = triggers.filter((each) => each.matches);
      const others = triggers.filter((each) => !each.matches);
      result.replaceChildren(
        h(
          "section",
          { class: "card", "aria-label": "Who would get it" },
          h(
            "h2",
            null,
            matching.length
              ? `${count(matching.length)} of ${count(triggers.length)} triggers would get it`
              : `None of ${count(triggers.length)} triggers would get it`,
          ),
          h(
            "ul",
            { class: "clauses" },
            matching.map((each) =>
              h("li", null, badge("matches", "good"), " ", link("trigger", { name: each.name }, each.name)),
            ),
          ),
          others.length
            ? h(
                "details",
                { open: !matching.length },
                h(
                  "summary",
                  null,
                  `${count(others.length)} would not${others.length > SHOWN ? `, of whom ${SHOWN} are shown` : ""}`,
                ),
                h(
                  "ul",
                  { class: "clauses" },
                  others
                    .slice(0, SHOWN)
                    .map((each) =>
                      h(
                        "li",
                        { class: "said" },
                        link("trigger", { name: each.name }, each.name),
                        " ",
                        h("span", { class: "mono" }, each.clauses.map((clause) => clause.text).join("; ")),
                      ),
                    ),
                ),
              )
            : null,
        ),
      );
    } catch (error) {
      result.replaceChildren(notice("bad", error.message));
    }
  }
}
