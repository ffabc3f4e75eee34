// What the pages are made of. Text is only ever set as text: what is in events is not trusted.

export { table } from "./table.js";

const PROPERTIES = new Set(["checked", "disabled", "hidden", "selected", "value", "open"]);

/**
 * Make an element. Of `properties`, `onclick` and the like are listeners, `style` an object,
 * `null` and `false` are left out, all else is an attribute. Children that are null are left out.
 * @param {string} tag @param {Record<string, any> | null} [properties] @param {...any} children
 * @returns {HTMLElement & any}
 */
export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for a picture. @param {string} tag @param {Record<string, any> | null} [properties] */
export function svg(tag, properties, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach((each) => element.style.setProperty(...each));
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Put these nodes into an element, unless the same are there: what is focused, or read out, stays so. */
export function refill(element, nodes) {
  const other = element.cloneNode(false);
  other.append(...nodes);
  if (!element.isEqualNode(other)) element.replaceChildren(...other.childNodes);
}

/** The top of a page: its name, what there is of it, and what can be done. */
export function heading(title, about = null, ...actions) {
  return h(
    "header",
    { class: "heading" },
    h("h1", null, title),
    about === null ? null : h("p", { class: "about" }, about),
    actions.length ? h("div", { class: "actions" }, actions) : null,
  );
}

/** Say that there is nothing, and what to do next. */
export function empty(title, hint, ...actions) {
  return h(
    "div",
    { class: "empty" },
    h("p", { class: "title" }, title),
    h("p", null, hint),
    actions.length ? h("div", { class: "actions" }, actions) : null,
  );
}

/** A box that says what is the matter. @param {"bad" | "warn" | "info"} kind */
export function notice(kind, ...children) {
  return h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : null }, children);
}

/** A button. `kind`: "primary", "danger", "quiet". */
export function button(text, onclick, kind = "") {
  return h("button", { type: "button", class: kind, onclick }, text);
}

/** A labelled control. */
export function field(label, control, hint = null) {
  return h("label", { class: "field" }, h("span", null, label), control, hint && h("small", null, hint));
}

/** A link to a page: `link("trigger", { name }, name)`. */
export function link(page, query, text, properties = {}) {
  return h("a", { href: href(page, query), ...properties }, text);
}

/** The address of a page. Parts of `query` that are null or empty are left out. */
export function href(page, query = {}) {
  const given = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const search = new URLSearchParams(given).toString();
  return `#/${page}${search ? `?${search}` : ""}`;
}

/** A small word with a colour. @param {"good" | "warn" | "bad" | "info" | "muted"} kind */
export function badge(text, kind = "muted") {
  return h("span", { class: `badge ${kind}` }, text);
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

/** A moment, in the time of whoever looks at it: the clock if it was today, else the day as well. */
export function time(iso) {
  if (!iso) return h("span", { class: "muted" }, "–");
  const moment = new Date(iso);
  const today = moment.toDateString() === new Date().toDateString();
  const clock = moment.toLocaleTimeString([], { ...CLOCK, fractionalSecondDigits: 3 });
  const day = moment.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
  return h("time", { datetime: iso, title: `${day} ${clock}, ${iso}` }, today ? clock : `${day} ${clock}`);
}

/** A length of time, in words that are short. @param {number | null} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return "< 1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const units = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, size]) => seconds >= size);
  const [[name, size], smaller] = [units[first], units[first + 1]];
  const rest = Math.floor((seconds % size) / smaller[1]);
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${smaller[0]}` : ""}`;
}

/** How long ago a moment was, null where it is unknown. @param {string | null} iso */
export function age(iso) {
  return iso ? duration(Math.max(0, (Date.now() - new Date(iso)) / 1000)) : "–";
}

const COUNT = new Intl.NumberFormat("en");

/** A count with marks between thousands. */
export function count(number) {
  return number === null || number === undefined ? "–" : COUNT.format(number);
}

/** A count and what is counted: "1 trigger", "2 triggers". */
export function counted(number, one, ending = "s") {
  return `${count(number)} ${one}${number === 1 ? "" : ending}`;
}

/** So many a second, null where it is not known yet. */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "–";
  if (perSecond === 0) return "0/s";
  return perSecond < 10
    ? `${perSecond.toFixed(perSecond < 1 ? 2 : 1)}/s`
    : `${COUNT.format(Math.round(perSecond))}/s`;
}

/** Tell something that was done, or failed. It goes by itself; what failed stays until it is closed. */
export function toast(text, kind = "good") {
  const shown = h(
    "div",
    { class: `toast ${kind}`, role: kind === "bad" ? "alert" : null },
    h("span", null, text),
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": "Close", onclick: () => shown.remove() },
      "✕",
    ),
  );
  document.getElementById("toasts").append(shown);
  if (kind !== "bad") setTimeout(() => shown.remove(), 6000);
}

/**
 * Ask; `yes` names what is done then. @returns {Promise<boolean>}
 * @param {string} text @param {{yes?: string, kind?: string}} [options]
 */
export async function confirm(text, { yes = "Yes", kind = "primary" } = {}) {
  return (await ask(text, { yes, kind, control: null })) !== null;
}

/**
 * Ask for a line of text. @returns {Promise<string | null>} null where nobody wants it
 * @param {string} text @param {{yes?: string, value?: string}} [options]
 */
export function prompt(text, { yes = "OK", value = "" } = {}) {
  return ask(text, {
    yes,
    kind: "primary",
    control: h("input", { value, "aria-label": text, required: true, maxlength: 1000 }),
  });
}

function ask(text, { yes, kind, control }) {
  return new Promise((done) => {
    const form = h(
      "form",
      { method: "dialog" },
      h("p", null, text),
      control,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"),
        h("button", { type: "submit", class: kind, value: "yes", autofocus: control === null }, yes),
      ),
    );
    const dialog = h("dialog", { "aria-label": text, onclose: closed }, form);
    function closed() {
      dialog.remove();
      done(dialog.returnValue === "yes" ? (control?.value ?? "") : null);
    }
    document.body.append(dialog);
    dialog.showModal();
    control?.focus();
  });
}
