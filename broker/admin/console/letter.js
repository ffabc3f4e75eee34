// One dead letter: what it is, why it was given up, and what can be done with it.

import { bytes, get, post } from "./api.js";
import { STRUCTURED, editor } from "./editor.js";
import { attributesView, payloadView } from "./payload.js";
import { button, h, href, link, notice, time, toast } from "./ui.js";

/**
 * @param {HTMLElement} root @param {string} id @param {string} broker @param {AbortSignal} signal
 */
export async function letter(root, id, broker, signal) {
  const path = `/api/v1/brokers/${broker}/deadletters`;
  const own = `${path}/${encodeURIComponent(id)}`;
  const told = await get(own, signal);
  const payload = await bytes(`${own}/payload`, signal);
  const { data, data_base64: encoded, ...attributes } = told.event;
  const list = href("deadletters", {
    broker,
    trigger: told.trigger,
    reason: told.why.reason,
    status: told.why.status ?? "none",
  });
  const trouble = h("div");
  const event = h("section", { class: "card", "aria-label": "The event" });
  const redrive = button("Redrive", asItIs, "primary");
  const edit = button("Edit and redrive…", editing);
  const actions = h(
    "div",
    { class: "bar" },
    told.trigger ? [redrive, edit] : null,
    link("story", { id: attributes.id, source: attributes.source }, "Its story", { class: "button" }),
    h("a", { class: "button", href: list }, "Others of this cause"),
  );
  root.append(
    h(
      "section",
      { class: "card", "aria-label": "Why it was given up" },
      h("h2", null, "Why it was given up"),
      refusal(told),
    ),
    ...(told.trigger
      ? []
      : [
          notice(
            "info",
            "This is no event that a trigger gave up, but what a source was given, or what others wrote. It cannot be redriven.",
          ),
        ]),
    actions,
    trouble,
    event,
  );
  looking();

  function looking() {
    event.replaceChildren(
      h("h2", null, "The event"),
      attributesView(attributes),
      payloadView(payload.length ? { bytes: payload } : null),
    );
    actions.hidden = false;
  }

  function editing() {
    const form = editor({ attributes, payload });
    const send = h("button", { class: "primary" }, "Redrive as edited");
    event.replaceChildren(
      h("h2", null, "The event that is redriven instead"),
      h(
        "small",
        null,
        "The dead letter stays until the edited event is stored. It goes to the same trigger alone.",
      ),
      h(
        "form",
        {
          class: "editing",
          onsubmit: (submitted) => (submitted.preventDefault(), asEdited(form.event(), send)),
        },
        form.element,
        h(
          "div",
          { class: "actions" },
          send,
          button("Cancel", () => (trouble.replaceChildren(), looking())),
        ),
      ),
    );
    actions.hidden = true;
    event.querySelector("input").focus();
  }

  async function asItIs() {
    redrive.disabled = true;
    await ended(() => post(`${path}/redrive`, { ids: [id] }));
    redrive.disabled = false;
  }

  async function asEdited(document, send) {
    send.disabled = true;
    await ended(() => post(`${own}/redrive`, document, STRUCTURED));
    send.disabled = false;
  }

  async function ended(doing) {
    try {
      const { redriven, kept } = await doing();
      if (!redriven.length) throw new Error(`It stays: ${Object.values(kept)[0]}`);
      toast(`Redriven to ${told.trigger}.`);
      location.hash = list;
    } catch (error) {
      trouble.replaceChildren(notice("bad", error.message));
    }
  }
}

function refusal({ trigger, buriedAt, why }) {
  const body = why.bodyText ?? (why.body ? `base64: ${why.body}` : "");
  return [
    h(
      "dl",
      { class: "facts" },
      h("dt", null, "Reason"),
      h("dd", { class: "said" }, why.reason),
      h("dt", null, "Trigger"),
      h("dd", null, trigger ? link("trigger", { name: trigger }, trigger) : "none"),
      h("dt", null, "Destination"),
      h("dd", { class: "said" }, why.destination),
      h("dt", null, "Attempts"),
      h("dd", null, String(why.attempts)),
      h("dt", null, "Given up"),
      h("dd", null, time(buriedAt)),
    ),
    body
      ? [
          h("h3", null, "What was answered"),
          h("pre", { class: "said", tabindex: 0, "aria-label": "The answer" }, body),
        ]
      : null,
  ];
}
