"""Every metric that a mesh tells, in the order of its scrape.

The scrape and the table in docs/metrics.md are made of these, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.observe.family import Family
from broker.settings import Part

_INGRESS: Final = frozenset({Part.INGRESS})
_DISPATCHER: Final = frozenset({Part.DISPATCHER})
_SOURCES: Final = frozenset({Part.SOURCES, Part.INGRESS})  # which those are in that are called

# --- what comes in

ACCEPTED: Final = Family(
    name="cemesh_accepted_events_total",
    kind="counter",
    unit="events",
    help="Events that the broker's channel has stored, whichever process took them.",
    labels=["broker"],
)
STORED: Final = Family(
    name="cemesh_stored_events_total",
    kind="counter",
    unit="events",
    help="Events stored in the broker since the process started, by how they came in.",
    labels=["broker", "origin"],
)
REFUSED: Final = Family(
    name="cemesh_refused_requests_total",
    kind="counter",
    unit="requests",
    help="Requests to the data port that were answered with an error.",
    labels=["broker", "status", "reason"],
    parts=_INGRESS,
)
INGRESS: Final = Family(
    name="cemesh_ingress_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Time from the head of a request until its events were durable.",
    labels=["broker"],
    parts=_INGRESS,
)
AVAILABLE: Final = Family(
    name="cemesh_channel_available",
    kind="gauge",
    help="Whether the broker's channel takes events now: 1 or 0.",
    labels=["broker"],
)
MATCHED: Final = Family(
    name="cemesh_matched_events_total",
    kind="counter",
    unit="events",
    help="Events that matched a trigger.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
DELIVERED: Final = Family(
    name="cemesh_delivered_events_total",
    kind="counter",
    unit="events",
    help="Events that a trigger delivered.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
DEAD_LETTERED: Final = Family(
    name="cemesh_dead_lettered_events_total",
    kind="counter",
    unit="events",
    help="Events that a trigger gave up.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
WAITING: Final = Family(
    name="cemesh_waiting_events",
    kind="gauge",
    unit="events",
    help="Events that wait for their delivery, those between two attempts included.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
OLDEST_WAITING: Final = Family(
    name="cemesh_oldest_waiting_seconds",
    kind="gauge",
    unit="seconds",
    help="Age of the oldest event that waits for its delivery; 0 where none does.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
UNACCOUNTED: Final = Family(
    name="cemesh_unaccounted_events",
    kind="gauge",
    unit="events",
    help="Matched less delivered, dead-lettered and waiting: 0 unless events were lost.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
CHANNEL: Final = Family(
    name="cemesh_channel_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Time from when an event was accepted until its first attempt began.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
ATTEMPT: Final = Family(
    name="cemesh_attempt_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Time that an attempt took, the storing of a reply included.",
    labels=["trigger", "to"],
    parts=_DISPATCHER,
)
END_TO_END: Final = Family(
    name="cemesh_end_to_end_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Time from when an event was accepted until its subscriber had taken it.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
ATTEMPTS: Final = Family(
    name="cemesh_attempts_total",
    kind="counter",
    unit="attempts",
    help="Attempts at a subscriber or a dead-letter sink, by what became of them.",
    labels=["trigger", "to", "outcome"],
    parts=_DISPATCHER,
)
GIVEN_UP: Final = Family(
    name="cemesh_given_up_events_total",
    kind="counter",
    unit="events",
    help="Events given up since the process started, by what has them now.",
    labels=["trigger", "to"],
    parts=_DISPATCHER,
)
REPLIES: Final = Family(
    name="cemesh_reply_events_total",
    kind="counter",
    unit="events",
    help="Replies of a trigger's subscriber that were stored in its broker.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
IN_FLIGHT: Final = Family(
    name="cemesh_in_flight_attempts",
    kind="gauge",
    unit="attempts",
    help="Attempts under way.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
PARKED: Final = Family(
    name="cemesh_parked_events",
    kind="gauge",
    unit="events",
    help="Events that wait for an operator, and hold their keys up.",
    labels=["trigger"],
    parts=_DISPATCHER,
)
TRIGGER_STATE: Final = Family(
    name="cemesh_trigger_state",
    kind="gauge",
    help="1 at the state that the trigger is in, 0 at the others.",
    labels=["trigger", "state"],
    parts=_DISPATCHER,
)
EMITTED: Final = Family(
    name="cemesh_source_emitted_events_total",
    kind="counter",
    unit="events",
    help="Events of a source that its broker stored.",
    labels=["kind", "source"],
    parts=_SOURCES,
)
REJECTED: Final = Family(
    name="cemesh_source_rejected_messages_total",
    kind="counter",
    unit="messages",
    help="What a source was given that can become no event, and is a dead letter.",
    labels=["kind", "source"],
    parts=_SOURCES,
)
RESTARTS: Final = Family(
    name="cemesh_source_restarts_total",
    kind="counter",
    unit="restarts",
    help="How often a source ended or failed, and was started again.",
    labels=["kind", "source"],
    parts=_SOURCES,
)
LAG: Final = Family(
    name="cemesh_source_lag_events",
    kind="gauge",
    unit="events",
    help="Events that wait upstream; of sources that can tell.",
    labels=["kind", "source"],
    parts=_SOURCES,
)
LAG_AGE: Final = Family(
    name="cemesh_source_lag_seconds",
    kind="gauge",
    unit="seconds",
    help="Age of the oldest event that waits upstream; of sources that can tell.",
    labels=["kind", "source"],
    parts=_SOURCES,
)
SOURCE_STATE: Final = Family(
    name="cemesh_source_state",
    kind="gauge",
    help="1 at the state that the source is in, 0 at the others.",
    labels=["kind", "source", "state"],
    parts=_SOURCES,
)
PROBLEMS: Final = Family(
    name="cemesh_manifest_problems",
    kind="gauge",
    unit="problems",
    help="Problems for which the last change of the manifests was not taken up; 0 if it was.",
)
FOLLOWED: Final = Family(
    name="cemesh_kubernetes_synced",
    kind="gauge",
    help="Whether the objects of a cluster are followed: 1, or 0 where what they were last is run; "
    "by --kubernetes.",
)
WORKER: Final = Family(
    name="cemesh_worker_running",
    kind="gauge",
    help="Whether each process of a mesh with --workers runs now: 1 or 0.",
    labels=["worker"],
    parts=frozenset(),
)
BUILD: Final = Family(
    name="cemesh_build_info", kind="gauge", help="1, of what is running.", labels=["version"]
)
CERTIFICATE: Final = Family(
    name="cemesh_certificate_expiry_timestamp_seconds",
    kind="gauge",
    unit="seconds",
    help="Until when the certificate is valid that a port shows, in Unix time; of ports with TLS.",
    labels=["port"],
)

FAMILIES: Final[Mapping[str, Family]] = {
    each.name: each for each in list(globals().values()) if isinstance(each, Family)
}
"""All of them, by name."""
