"""What became of each object, as its status says it: see docs/kubernetes-statuses.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from broker.connections.kubernetes.collections import Object
from broker.kubernetes.conditions import READY, Condition, Truth, merged, summed
from broker.kubernetes.sourcefates import source_conditions, source_sink
from broker.kubernetes.views import View
from broker.kubernetes.wrongs import NOT_YET, About, Wrong
from broker.manifest.kinds import is_source
from broker.status import TriggerState

DELIVERING: Final = "cemesh.dev/Delivering"

_CHANNEL: Final = About(type="TriggerChannelReady")
_BROKER: Final = About(type="BrokerReady", place="spec.broker", reason="BrokerDoesNotExist")
_SUBSCRIPTION: Final = About(type="SubscriptionReady")
_SUBSCRIBER: Final = About(
    type="SubscriberResolved", place="spec.subscriber", reason="SubscriberNotResolved"
)
_DEAD_LETTERS: Final = About(
    type="DeadLetterSinkResolved",
    place="spec.delivery.deadLetterSink",
    reason="DeadLetterSinkNotResolved",
)
_OF_BROKERS: Final = (_DEAD_LETTERS, _CHANNEL)
_OF_TRIGGERS: Final = (_BROKER, _SUBSCRIBER, _DEAD_LETTERS, _SUBSCRIPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """The conditions of an object, and the other ``fields`` of its status: None is none."""

    conditions: Sequence[Condition]
    fields: Mapping[str, Any] = field(default_factory=dict)


def status_of(found: Object, view: View, now: datetime) -> Mapping[str, Any]:
    """Return the status that the object should have: the one it has, where nothing is new.

    What others have written there stays.
    """
    fate = fate_of(found, view)
    former = found.get("status")
    status = dict(former) if isinstance(former, dict) else {}
    generation = found["metadata"].get("generation")
    status |= {
        "observedGeneration": generation,
        **fate.fields,
        "conditions": merged(status.get("conditions"), fate.conditions, now),
    }
    return {name: value for name, value in status.items() if value is not None}


def fate_of(found: Object, view: View) -> Fate:
    """Return what became of an object of a kind whose status the mesh writes."""
    kind = str(found["kind"])
    key = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    fields: Mapping[str, Any]
    if kind == "Broker":
        conditions, fields = _broker(key, view), {"address": _address(key, view)}
    elif kind == "Trigger":
        conditions, fields = _trigger(found, key, view), _uris(key, view)
    elif is_source(kind):
        conditions = source_conditions(found, f"{kind} {key}", view)
        fields = {"sinkUri": source_sink(found, f"{kind} {key}", view)}
    else:
        wrong = view.wrong_with(f"{kind} {key}", [About(type=READY)])
        return Fate(conditions=[wrong.unless(Condition(type=READY))])
    return Fate(conditions=[summed(conditions), *conditions], fields=fields)


# --- brokers -------------------------------------------------------------------------------


def _broker(key: str, view: View) -> Sequence[Condition]:
    wrong = view.wrong_with(f"Broker {key}", _OF_BROKERS)
    status = view.brokers.get(key)
    channel = Condition(type=_CHANNEL.type)
    if status is not None and status.unavailable is not None:
        channel = Condition(
            type=_CHANNEL.type,
            status="False",
            reason="ChannelUnavailable",
            message=status.unavailable,
        )
    addressable = Condition(type="Addressable")
    if view.address is None:
        addressable = Condition(
            type="Addressable",
            status="Unknown",
            reason="AddressUnknown",
            message="where the mesh is reached is not known: start it with --kubernetes-address",
        )
    others = [Condition(type=each) for each in ("IngressReady", "FilterReady", _DEAD_LETTERS.type)]
    runs = status is not None
    return [wrong.unless(each, known=runs) for each in (channel, addressable, *others)]


def _address(key: str, view: View) -> Mapping[str, str] | None:
    # One that is wrong now goes on taking events as it was before, if it was ever right.
    url = view.broker_url(key)
    if url is None or key not in view.brokers:
        return None
    return {"name": url.partition(":")[0], "url": url}


# --- triggers ------------------------------------------------------------------------------


def _trigger(found: Object, key: str, view: View) -> Sequence[Condition]:
    wrong = view.wrong_with(f"Trigger {key}", _OF_TRIGGERS)
    wanted = view.triggers.get(key)
    dead_letters = Condition(type=_DEAD_LETTERS.type)
    if wanted is not None and wanted.delivery.dead_letter is None:
        dead_letters = Condition(
            type=_DEAD_LETTERS.type,
            reason="DeadLetterSinkNotConfigured",
            message="dead letters stay in the broker's own store",
        )
    return [
        _broker_ready(found, wrong, view),
        wrong.unless(Condition(type=_SUBSCRIBER.type), known=wanted is not None),
        wrong.unless(dead_letters, known=wanted is not None),
        wrong.unless(Condition(type=_SUBSCRIPTION.type), known=key in view.running),
        Condition(type="DependencyReady"),  # the mesh waits for none
        _delivering(key, view, is_wrong=bool(wrong)),
    ]


def _uris(key: str, view: View) -> Mapping[str, str | None]:
    """Return where the trigger leads: nowhere, while something is wrong with it."""
    wanted = None if view.is_wrong(f"Trigger {key}") else view.triggers.get(key)
    dead_letter = None if wanted is None else wanted.delivery.dead_letter
    return {
        "subscriberUri": None if wanted is None else view.told(wanted.subscriber.url),
        "deadLetterSinkUri": None if dead_letter is None else view.told(dead_letter.url),
    }


def _broker_ready(found: Object, wrong: Wrong, view: View) -> Condition:
    """Return how the trigger's broker fares: unless that is ready, no trigger of it is."""
    spec = found.get("spec")
    name = spec.get("broker") if isinstance(spec, dict) else None
    key = f"{found['metadata']['namespace']}/{name}"
    said = wrong.said(_BROKER.type)
    if said is not None and not view.is_wrong(f"Broker {key}"):
        return said
    # One that is wrong is missing for that alone: what is wrong with it says more.
    ready = summed(_broker(key, view))
    return Condition(
        type=_BROKER.type,
        status=ready.status,
        reason=ready.reason,
        message=ready.message and f"Broker {key}: {ready.message}",
    )


def _delivering(key: str, view: View, *, is_wrong: bool) -> Condition:
    """Return whether events go out: what users tell apart from whether the trigger is right."""
    status = view.running.get(key)
    truth: Truth = "True"
    reason, message = "", ""
    if status is not None and status.state.phase in ("paused", "probing"):
        # A wait that the subscriber asked for, or a first few attempts, are no news.
        truth, (reason, message) = "False", _paused(status.state)
    elif status is not None and is_wrong:
        reason, message = "Former", "it goes on as it was before something was wrong with it"
    elif status is None and is_wrong:
        truth, reason = "False", "Held"
        message = "nothing is delivered until it is right; its place in the channel is kept"
    elif status is None:
        truth, (reason, message) = "Unknown", NOT_YET
    return Condition(type=DELIVERING, status=truth, reason=reason, message=message, told_only=True)


def _paused(state: TriggerState) -> tuple[str, str]:
    return state.phase.capitalize(), state.why or ""
