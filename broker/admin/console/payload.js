// What an event says and carries, shown as text: never as markup, and with numbers as they were sent.

import { count, h } from "./ui.js";

const SHOWN = 64 << 10; // characters of a payload that are shown
const DUMPED = 256; // bytes of one that is no text

/** @typedef {{text: string} | {bytes: Uint8Array} | null} Payload */

/**
 * Read an event in the structured JSON format, as the mesh writes it: the payload comes last.
 * It is kept as text, for a parser would round its numbers.
 * @param {string} line @returns {{attributes: Record<string, any>, payload: Payload}}
 */
export function eventOf(line) {
  const at = line.indexOf(',"data":'); // within a string, the quotation marks have backslashes
  const { data_base64: encoded, ...attributes } = JSON.parse(at < 0 ? line : `${line.slice(0, at)}}`);
  if (at >= 0) return { attributes, payload: { text: line.slice(at + 8, -1) } };
  return { attributes, payload: encoded === undefined ? null : { bytes: unpacked(encoded) } };
}

/** @param {string} encoded base64 @returns {Uint8Array} */
function unpacked(encoded) {
  return Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
}

/** @param {Uint8Array} bytes @returns {string} base64 */
export function packed(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** The text that these bytes are, or null where they are none. @param {Uint8Array} bytes */
export function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Show the attributes of an event. @param {Record<string, any>} attributes */
export function attributesView(attributes) {
  const shown = Object.entries(attributes).map(([name, value]) => [
    h("dt", null, name),
    h("dd", { class: "said" }, String(value)),
  ]);
  return h("dl", { class: "facts" }, shown);
}

/** Show a payload. @param {Payload} payload */
export function payloadView(payload) {
  const text = payload && ("text" in payload ? payload.text : textOf(payload.bytes));
  if (payload === null || text === "") return h("p", { class: "muted" }, "No payload.");
  if (text === null) return binary(payload.bytes);
  const cut = text.length > SHOWN;
  return h(
    "div",
    null,
    h(
      "pre",
      { class: "said", tabindex: 0, "aria-label": "Payload" },
      cut ? text.slice(0, SHOWN) : indented(text),
    ),
    cut ? h("small", null, `The first ${count(SHOWN)} of ${count(text.length)} characters.`) : null,
  );
}

function binary(bytes) {
  const some = [...bytes.subarray(0, DUMPED)].map((each) => each.toString(16).padStart(2, "0")).join(" ");
  return h(
    "div",
    null,
    h("pre", { tabindex: 0, "aria-label": "Payload" }, bytes.length > DUMPED ? `${some} …` : some),
    h("small", null, `${count(bytes.length)} bytes that are no text.`),
  );
}

/**
 * Break JSON into lines, each of its words as it is; text that is no JSON is returned as it is.
 * @param {string} text
 */
export function indented(text) {
  if (!isJson(text)) return text;
  const words = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let [out, depth] = ["", 0];
  words.forEach((word, at) => {
    const follows = words[at + 1];
    if (word === "{" || word === "[") {
      depth += 1;
      out += follows === "}" || follows === "]" ? word : word + line(depth);
    } else if (word === "}" || word === "]") {
      depth -= 1;
      const before = words[at - 1];
      out += before === "{" || before === "[" ? word : line(depth) + word;
    } else if (word === ",") {
      out += word + line(depth);
    } else {
      out += word === ":" ? ": " : word;
    }
  });
  return out;
}

function line(depth) {
  return `\n${"  ".repeat(depth)}`;
}

/** @param {string} text */
export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
