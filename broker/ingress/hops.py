"""How often an event has come round already, as a Knative broker in front of us tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from broker.errors import HopsExhausted, InvalidEvent
from broker.event import MAX_HOPS, Event

_TTL: Final = "knativebrokerttl"
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")


def take_in(events: Sequence[Event]) -> Sequence[Event]:
    """Return the events with Knative's hop attribute turned into hops, and taken off.

    Raises `InvalidEvent` where it is not an integer, `HopsExhausted` where none are left.
    """
    for event in events:
        if _TTL in event.attributes:
            return [_take_in(each, index, len(events)) for index, each in enumerate(events)]
    return events


def _take_in(event: Event, index: int, of: int) -> Event:
    text = event.attributes.get(_TTL)
    if text is None:
        return event
    place = None if of == 1 else index
    if not _INTEGER.fullmatch(text):
        raise InvalidEvent(f"'{_TTL}' is not an integer", attribute=_TTL, index=place)
    left = int(text)
    if left <= 0:
        raise HopsExhausted(
            "the event has gone round as often as the mesh allows", attribute=_TTL, index=place
        )
    attributes = {name: value for name, value in event.attributes.items() if name != _TTL}
    kinds = {name: kind for name, kind in event.kinds.items() if name != _TTL}
    return Event(attributes, event.data, kinds, MAX_HOPS - min(left, MAX_HOPS))
