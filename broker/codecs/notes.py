"""What a stored message says beside its event, in headers that no attribute can have.

Kafka's records and RabbitMQ's messages say the same. Anybody may write to a topic or a queue, so
what is read is checked like what an event says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import msgspec

from broker.errors import InvalidEvent
from broker.event import Kind
from broker.ports import Refusal

DATA: Final = "cemesh-data"
KINDS: Final = "cemesh-kinds"
HOPS: Final = "cemesh-hops"
NOTES: Final = "cemesh-notes"
OURS: Final = frozenset({DATA, KINDS, HOPS, NOTES})
"""The names of the headers: whether there is data, `Event.kinds`, `Event.hops`, `Notes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What a message says beside the event, about its delivery.

    ``to`` is the one trigger that the message is for (a redrive, a deferred delivery, a dead
    letter), or None where the filters decide. ``attempts`` and ``condemned`` are those of
    `broker.ports.Claim`. ``due`` is when a deferred delivery returns, ``accepted`` when the broker
    took its event, where the message itself is younger; both have a time zone.
    """

    to: str | None = None
    attempts: Annotated[int, msgspec.Meta(ge=0)] = 0
    condemned: Refusal | None = None
    due: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    accepted: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


NO_NOTES: Final = Notes()

_KIND_CALLED: Final[Mapping[str, Kind]] = {"boolean": "boolean", "integer": "integer"}
_COUNT: Final = re.compile("[0-9]{1,9}")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Notes)


def kinds_text(kinds: Mapping[str, Kind]) -> str:
    """Return what `read_kinds` makes the same kinds of."""
    return " ".join([f"{name}={kind}" for name, kind in kinds.items()])


def read_kinds(text: str) -> Mapping[str, Kind]:
    """Return the kinds that the header `KINDS` tells; raises `InvalidEvent`."""
    kinds: dict[str, Kind] = {}
    for item in text.split():
        name, _, kind = item.partition("=")
        if kind not in _KIND_CALLED:
            raise InvalidEvent(f"the header '{KINDS}' is not like 'flag=boolean count=integer'")
        kinds[name] = _KIND_CALLED[kind]
    return kinds


def read_hops(text: str) -> int:
    """Return the number that the header `HOPS` tells; raises `InvalidEvent`."""
    if not _COUNT.fullmatch(text):
        raise InvalidEvent(f"the header '{HOPS}' is not a number of at most nine digits")
    return int(text)


def notes_text(notes: Notes) -> bytes:
    """Return what `read_notes` makes the same notes of."""
    return _encoder.encode(notes)


def read_notes(text: bytes | str) -> Notes:
    """Return the notes that the header `NOTES` tells; raises `InvalidEvent`.

    What a later version notes, too, is passed over.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidEvent(f"the header '{NOTES}' cannot be read: {error}") from error
