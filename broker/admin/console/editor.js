// A form for an event: its attributes, each in a line, and its payload as text.

import { indented, isJson, packed, textOf } from "./payload.js";
import { button, count, field, h } from "./ui.js";

const ALWAYS = ["type", "source", "id"];
const USUAL = ["subject", "time", "datacontenttype"];

export const STRUCTURED = { "Content-Type": "application/cloudevents+json" };

/** A new id. Not every browser has `randomUUID` where the page came by plain HTTP. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {{attributes: Record<string, any>, payload: Uint8Array | null}} event what it begins with
 * @returns {{element: HTMLElement, event: () => string, set: (name: string, value: string) => void}}
 *   `event` returns what it says, in the structured JSON format; a payload that nobody has touched
 *   is the same byte for byte.
 */
export function editor({ attributes, payload }) {
  const values = new Map();
  const known = [...ALWAYS, ...USUAL].map((name) => {
    const control = h("input", {
      value: said(attributes[name]),
      "aria-label": name,
      spellcheck: "false",
      required: ALWAYS.includes(name),
    });
    values.set(name, control);
    return field(name, control);
  });
  const extras = h("div", { class: "extras" });
  const extra = (name, value) => {
    const line = h(
      "div",
      { class: "bar" },
      h("input", {
        class: "name mono",
        value: name,
        placeholder: "name",
        "aria-label": "Name of an attribute",
        pattern: "[a-z0-9]+",
        title: "small letters and digits",
        spellcheck: "false",
      }),
      h("input", {
        class: "value",
        value,
        placeholder: "value",
        "aria-label": `Value of ${name || "an attribute"}`,
        spellcheck: "false",
      }),
      button("Remove", () => line.remove(), "quiet"),
    );
    extras.append(line);
    return line;
  };
  const named = ["specversion", ...ALWAYS, ...USUAL];
  for (const [name, value] of Object.entries(attributes)) if (!named.includes(name)) extra(name, said(value));
  const add = button("Add an attribute", () => extra("", "").querySelector("input").focus(), "quiet");
  const body = payloadField(payload);
  const element = h(
    "div",
    { class: "editor" },
    h("div", { class: "known" }, known),
    extras,
    h("div", null, add),
    body.element,
  );

  function lines() {
    const own = [...values].map(([name, control]) => [name, control.value]);
    const others = [...extras.children].map((line) =>
      [...line.querySelectorAll("input")].map((each) => each.value),
    );
    return [...own, ...others].filter(([name, value]) => name && value !== "");
  }

  return {
    element,
    set: (name, value) => (values.get(name).value = value),
    event() {
      const document = { specversion: attributes.specversion ?? "1.0" };
      for (const [name, value] of lines())
        document[name] = said(attributes[name]) === value ? attributes[name] : value;
      const data = body.bytes();
      if (data.length) document.data_base64 = packed(data);
      return JSON.stringify(document);
    },
  };
}

function said(value) {
  return value === undefined || value === null ? "" : String(value);
}

/** @param {Uint8Array | null} payload */
function payloadField(payload) {
  const original = payload ?? new Uint8Array();
  const text = textOf(original);
  if (text === null) {
    return {
      element: h(
        "p",
        { class: "muted" },
        `The payload, ${count(original.length)} bytes that are no text, stays as it is.`,
      ),
      bytes: () => original,
    };
  }
  const area = h("textarea", {
    value: text,
    rows: 12,
    "aria-label": "Payload",
    spellcheck: "false",
    oninput: judge,
  });
  const before = area.value; // in which a browser has made all line breaks alike
  const judged = h("small", null);
  const tidy = button("Indent", () => ((area.value = indented(area.value)), judge()), "quiet");
  function judge() {
    const kind =
      area.value.trim() === ""
        ? ""
        : isJson(area.value)
          ? "JSON"
          : "No JSON: it is sent as the text that it is.";
    judged.textContent = kind;
    tidy.hidden = kind !== "JSON";
  }
  judge();
  return {
    element: h(
      "div",
      { class: "field" },
      h("span", null, "Payload"),
      area,
      h("div", { class: "bar" }, judged, tidy),
    ),
    bytes: () => (area.value === before ? original : new TextEncoder().encode(area.value)),
  };
}
