"""The annotations that mean something to the mesh; those of others are left alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, TypeVar

from broker.errors import did_you_mean
from broker.manifest.durations import duration
from broker.manifest.objects import Place

ACCESS: Final = "cemesh.dev/access"
ANNOUNCEMENTS: Final = "cemesh.dev/announcements"
BACKOFF_JITTER: Final = "cemesh.dev/backoff-jitter"
BACKOFF_MAX: Final = "cemesh.dev/backoff-max"
DELIVERY_POLICY: Final = "cemesh.dev/delivery-policy"
BROKER_CLASS: Final = "eventing.knative.dev/broker.class"
ORDER: Final = "kafka.eventing.knative.dev/delivery.order"
PARALLELISM: Final = "rabbitmq.eventing.knative.dev/parallelism"

_OURS: Final = "cemesh.dev/"
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "Broker": frozenset({ACCESS, ANNOUNCEMENTS, DELIVERY_POLICY}),
    "Trigger": frozenset({BACKOFF_JITTER, BACKOFF_MAX, DELIVERY_POLICY}),
}

_ORDERS: Final = {"ordered": True, "unordered": False}

_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DIGITS: Final = re.compile(r"[0-9]{1,9}")

T = TypeVar("T")


def check_names(annotations: Mapping[str, str], place: Place) -> None:
    """Report what is under ``cemesh.dev/`` and unknown."""
    known = _KNOWN.get(place.object.kind, frozenset())
    for name in annotations:
        if name.startswith(_OURS) and name not in known:
            place.at(name).error(f"unknown annotation{did_you_mean(name, known)}")


def read(
    annotations: Mapping[str, str], name: str, parse: Callable[[str], T], default: T, place: Place
) -> T:
    """Return the value of the annotation ``name``, or ``default`` where it is absent or wrong.

    ``parse`` raises `ValueError`, whose text is reported.
    """
    text = annotations.get(name)
    if text is None:
        return default
    try:
        return parse(text)
    except ValueError as error:
        place.at(name).error(str(error))
        return default


def jitter(text: str) -> float:
    """Return a share from 0 to 1."""
    if not _DECIMAL.fullmatch(text) or float(text) > 1:
        raise ValueError(f"'{text}' is not a number from 0 to 1 such as \"0.1\"")
    return float(text)


def backoff_max(text: str) -> timedelta | None:
    """Return the cap of a wait, or None for "off"."""
    if text == "off":
        return None
    try:
        return duration(text)
    except ValueError as error:
        raise ValueError(f'{error}, or "off"') from None


def is_ordered(text: str) -> bool:
    """Return whether events of one key are delivered one after the other."""
    try:
        return _ORDERS[text]
    except KeyError:
        suggestion = did_you_mean(text, _ORDERS)
        raise ValueError(f"'{text}' is neither 'ordered' nor 'unordered'{suggestion}") from None


def is_true(text: str) -> bool:
    """Return whether it says "true"; anything but that and "false" is wrong."""
    if text not in ("true", "false"):
        raise ValueError(f'\'{text}\' is neither "true" nor "false"')
    return text == "true"


def parallelism(text: str) -> int:
    """Return a number of attempts at a time, from 1 to 1000."""
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= 1000:
        raise ValueError(f"'{text}' is not a whole number from 1 to 1000")
    return int(text)
