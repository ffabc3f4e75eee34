// The status of the mesh, read once for all that show it, and the rates that come of it.

import { get, poll } from "./api.js";

const EVERY = 2; // seconds
const KEPT = 60; // readings, for rates over time
const OVER = 5; // readings that a rate is told over: ten seconds

/** @typedef {{at: number, counts: Map<string, number[]>}} Reading */

/** @type {Reading[]} */
const readings = [];
const listeners = new Set();
let latest = null;

/** Begin to read. @param {AbortSignal} signal */
export function begin(signal) {
  poll("/api/v1/status", EVERY, keep, signal);
}

/** Read it at once, as after something was changed. */
export async function refresh() {
  keep(await get("/api/v1/status"));
}

/**
 * Call `onStatus` with the status now, if it is known, and whenever there is a newer one.
 * @param {(status: any) => void} onStatus @param {AbortSignal} signal
 */
export function follow(onStatus, signal) {
  listeners.add(onStatus);
  signal.addEventListener("abort", () => listeners.delete(onStatus), { once: true });
  if (latest) onStatus(latest);
}

/**
 * What a trigger, broker or source does per second now; null until there are two readings.
 * @param {"trigger" | "broker" | "source"} kind @param {string} name
 * @param {"matched" | "delivered" | "deadLettered" | "accepted" | "emitted"} what
 */
export function perSecond(kind, name, what) {
  const recent = readings.slice(-OVER - 1);
  return between(recent[0], recent.at(-1), id(kind, name), PLACES[what]);
}

/** The same over time: one value for each reading but the first, null where it is not known. */
export function overTime(kind, name, what) {
  const wanted = id(kind, name);
  return readings.slice(1).map((each, before) => between(readings[before], each, wanted, PLACES[what]));
}

/** When the newest and the oldest of these values are of, in seconds before now. */
export const SPAN = KEPT * EVERY;

const PLACES = { matched: 0, delivered: 1, deadLettered: 2, accepted: 0, emitted: 0 };

function id(kind, name) {
  return `${kind} ${name}`;
}

/** @param {Reading} [one] @param {Reading} [other] */
function between(one, other, name, place) {
  const [before, after] = [one?.counts.get(name), other?.counts.get(name)];
  const seconds = one && other ? (other.at - one.at) / 1000 : 0;
  if (!before || !after || seconds <= 0) return null;
  // What has counted anew since, as after a restart, is not known.
  return after[place] < before[place] ? null : (after[place] - before[place]) / seconds;
}

function keep(status) {
  const counts = new Map();
  for (const broker of status.brokers) {
    counts.set(id("broker", broker.name), [broker.accepted]);
    for (const each of broker.triggers) {
      counts.set(id("trigger", each.name), [each.matched, each.delivered, each.deadLettered]);
    }
  }
  for (const each of status.sources) counts.set(id("source", `${each.kind} ${each.name}`), [each.emitted]);
  readings.push({ at: performance.now(), counts });
  if (readings.length > KEPT) readings.shift();
  latest = status;
  for (const each of [...listeners]) each(status);
}

/**
 * What is the matter with a trigger: a word and its colour.
 * @param {any} trigger @returns {{word: string, kind: "good" | "warn" | "bad"}}
 */
export function health(trigger) {
  if (trigger.unaccounted) return { word: "unaccounted", kind: "bad" };
  if (trigger.state === "running" && trigger.parked) return { word: "parked", kind: "warn" };
  const kinds = { running: "good", recovering: "warn", probing: "warn", held: "warn", paused: "bad" };
  return { word: trigger.state, kind: kinds[trigger.state] ?? "warn" };
}
