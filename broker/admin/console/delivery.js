// How a trigger delivers, in words.

import { duration, h } from "./ui.js";

/** @param {any} policy a document of `delivery` @returns {HTMLElement} */
export function delivery(policy) {
  return h(
    "dl",
    { class: "facts" },
    told(policy).map(([name, ...value]) => [h("dt", null, name), h("dd", null, value)]),
  );
}

function told(policy) {
  const { limits, breaker, batch } = policy;
  const said = [
    ["Subscriber", h("code", null, policy.subscriber)],
    [
      "Dead letters",
      policy.deadLetterSink ? h("code", null, policy.deadLetterSink) : "are kept by the broker",
    ],
    ["Replies", policy.reply ? h("code", null, policy.reply) : "go to the broker"],
    ["Timeout", `${duration(policy.timeout)} for an attempt`],
    ["Retries", retries(policy)],
    [
      "Breaker",
      breaker
        ? `opens after ${breaker.failures} failures in a row, for ${duration(breaker.pause)} at first and at most ${duration(breaker.maxPause)}`
        : "none",
    ],
    ["At once", `${limits.parallelism} attempts`],
  ];
  if (limits.rate !== null) said.push(["Rate", `${limits.rate} per second, ${limits.burst} at once`]);
  if (limits.maxAge !== null) said.push(["Too old", `after ${duration(limits.maxAge)} it is given up`]);
  if (batch)
    said.push([
      "Batches",
      `of up to ${batch.maxEvents} events, for which the first waits at most ${duration(batch.maxWait)}`,
    ]);
  if (policy.ordered)
    said.push([
      "Order",
      policy.parks
        ? "one after the other of each partition key; what fails is parked"
        : "one after the other of each partition key",
    ]);
  if (policy.format) said.push(["Format", policy.format]);
  if (policy.credentials.length) said.push(["Shows", policy.credentials.join(", ")]);
  if (policy.signingKeys)
    said.push(["Signed", `by ${policy.signingKeys} ${policy.signingKeys === 1 ? "key" : "keys"}`]);
  return said;
}

function retries({ retries, waits, backoffPolicy }) {
  if (!retries) return "none";
  const first = waits.slice(0, 5).map((each) => duration(each.wait));
  const more = retries > first.length ? ", …" : "";
  const all = retries > 1 && waits.length === retries ? `, ${duration(waits.at(-1).total)} in all` : "";
  return `${retries}, ${backoffPolicy}: after ${first.join(", ")}${more}${all}`;
}
