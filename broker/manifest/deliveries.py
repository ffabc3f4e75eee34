"""Turns a DeliverySpec into the policy that deliveries follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal, TypeVar

from broker.manifest import annotations as notes
from broker.manifest.destinations import Directory, target
from broker.manifest.objects import Place
from broker.manifest.shapes import Delivery
from broker.trigger import ContentMode, DeliveryPolicy

_CONTENT_MODES: Final[Mapping[Literal["json", "binary"], ContentMode]] = {
    "json": "structured",
    "binary": "binary",
}

T = TypeVar("T")


def policy(delivery: Delivery | None, place: Place, directory: Directory) -> DeliveryPolicy:
    """Return the policy that ``delivery`` asks for, with defaults for what it leaves open."""
    default = DeliveryPolicy()
    if delivery is None:
        return default
    sink = delivery.dead_letter_sink
    if sink is not None and sink.audience is not None:
        place.at("deadLetterSink", "audience").warn("no token is sent to a dead-letter sink")
    return DeliveryPolicy(
        retry=_given(delivery.retry, default.retry),
        backoff_policy=_given(delivery.backoff_policy, default.backoff_policy),
        backoff_delay=_given(delivery.backoff_delay, default.backoff_delay),
        timeout=_given(delivery.timeout, default.timeout),
        retry_after_max=_given(delivery.retry_after_max, default.retry_after_max),
        content_mode=None if delivery.format is None else _CONTENT_MODES[delivery.format],
        dead_letter=(None if sink is None else target(sink, place.at("deadLetterSink"), directory)),
    )


def annotated(
    policy: DeliveryPolicy, annotations: Mapping[str, str], place: Place
) -> DeliveryPolicy:
    """Return the policy as a Trigger's own annotations change it."""
    jitter = notes.read(
        annotations, notes.BACKOFF_JITTER, notes.jitter, policy.backoff_jitter, place
    )
    cap = notes.read(annotations, notes.BACKOFF_MAX, notes.backoff_max, policy.backoff_cap, place)
    return replace(policy, backoff_jitter=jitter, backoff_cap=cap)


def _given(value: T | None, default: T) -> T:
    return default if value is None else value
