// Filters in words.

import { h } from "./ui.js";

const ATTRIBUTES = {
  exact: (value) => ["is", value],
  prefix: (value) => ["begins with", value],
  suffix: (value) => ["ends with", value],
};

/**
 * What a trigger takes, on one line. @param {{filters?: any[], filter?: any}} trigger
 * @returns {string}
 */
export function inShort(trigger) {
  const parts = clauses(trigger);
  return parts.length ? parts.map(short).join(" and ") : "every event";
}

/** The same as a list, with all that is nested. @returns {HTMLElement} */
export function inWords(trigger) {
  const parts = clauses(trigger);
  if (!parts.length) return h("p", null, "Every event of the broker.");
  return h(
    "div",
    { class: "words" },
    h("p", null, parts.length > 1 ? "Events for which all of these hold:" : "Events for which this holds:"),
    listed(parts),
  );
}

/** @typedef {{attribute: string, how: string, value: string} | {cesql: string} | {of: "all" | "any" | "not", parts: Clause[]}} Clause */

/** @returns {Clause[]} */
function clauses({ filters, filter }) {
  if (filters) return filters.flatMap(parts);
  // The older form: an empty value asks that the attribute is there.
  return Object.entries(filter?.attributes ?? {}).map(([attribute, value]) =>
    value === "" ? { attribute, how: "is there", value: "" } : { attribute, how: "is", value },
  );
}

/** @returns {Clause[]} */
function parts(filter) {
  return Object.entries(filter).flatMap(([dialect, of]) => {
    if (dialect === "cesql") return [{ cesql: of }];
    if (dialect === "all" || dialect === "any") return [{ of: dialect, parts: of.map(one) }];
    if (dialect === "not") return [{ of: "not", parts: [one(of)] }];
    return Object.entries(of).map(([attribute, value]) => {
      const [how, text] = ATTRIBUTES[dialect]?.(value) ?? [dialect, JSON.stringify(value)];
      return { attribute, how, value: text };
    });
  });
}

/** @returns {Clause} */
function one(filter) {
  const found = parts(filter);
  return found.length === 1 ? found[0] : { of: "all", parts: found };
}

/** @param {Clause} clause @returns {string} */
function short(clause) {
  if ("cesql" in clause) return clause.cesql;
  if ("attribute" in clause) return [clause.attribute, clause.how, clause.value].filter(Boolean).join(" ");
  if (clause.of === "not") return `not (${short(clause.parts[0])})`;
  return `(${clause.parts.map(short).join(clause.of === "any" ? " or " : " and ")})`;
}

const HEADS = { all: "all of these hold:", any: "at least one of these holds:", not: "this does not hold:" };

/** @param {Clause[]} parts */
function listed(parts) {
  return h(
    "ul",
    null,
    parts.map((each) => h("li", null, said(each))),
  );
}

/** @param {Clause} clause */
function said(clause) {
  if ("cesql" in clause) return ["CESQL ", h("code", null, clause.cesql)];
  if ("attribute" in clause) {
    return [
      h("code", null, clause.attribute),
      ` ${clause.how} `,
      clause.value && h("code", { class: "value" }, clause.value),
    ];
  }
  return [HEADS[clause.of], listed(clause.parts)];
}
