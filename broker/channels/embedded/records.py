"""How events and refusals stand in the file.

The attributes are JSON with the types that are known, so that a person with the ``sqlite3``
shell can read and query them; the payload is its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from broker.event import Event, Kind
from broker.ports import Refusal

_ENCODER: Final = msgspec.json.Encoder()
_HEAD: Final = msgspec.json.Decoder(dict[str, str | int | bool])
_REFUSAL: Final = msgspec.json.Decoder(Refusal)
_OPEN: Final = msgspec.json.Decoder(list[tuple[int, int, Refusal | None]])

OVERHEAD: Final = 64
"""Bytes that a row takes beside its head and data, roughly."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event in the log. ``at`` is when it was accepted, in microseconds since 1970."""

    position: int
    at: int
    event: Event
    addressee: str | None
    size: int


def encode_head(event: Event) -> str:
    kinds = event.kinds
    if not kinds:
        return _ENCODER.encode(event.attributes).decode()
    typed = {
        name: _typed(text, kinds[name]) if name in kinds else text
        for name, text in event.attributes.items()
    }
    return _ENCODER.encode(typed).decode()


def _typed(text: str, kind: Kind) -> int | bool:
    return text == "true" if kind == "boolean" else int(text)


def decode_event(head: str, data: bytes | None, hops: int) -> Event:
    attributes: dict[str, str] = {}
    kinds: dict[str, Kind] = {}
    for name, value in _HEAD.decode(head).items():
        match value:
            case str():
                attributes[name] = value
            case bool():
                attributes[name] = "true" if value else "false"
                kinds[name] = "boolean"
            case int():
                attributes[name] = str(value)
                kinds[name] = "integer"
    return Event(attributes, data, kinds, hops)


def decode_record(
    position: int, at: int, hops: int, addressee: str | None, head: str, data: bytes | None
) -> Record:
    """Return the record of a row of `COLUMNS`."""
    event = decode_event(head, data, hops)
    return Record(position, at, event, addressee, len(head) + len(data or b"") + OVERHEAD)


COLUMNS: Final = "position, at, hops, addressee, head, data"


def encode_refusal(refusal: Refusal | None) -> str | None:
    return None if refusal is None else _ENCODER.encode(refusal).decode()


def decode_refusal(text: str) -> Refusal:
    return _REFUSAL.decode(text)


def encode_open(items: list[tuple[int, int, Refusal | None]]) -> str:
    return _ENCODER.encode(items).decode() if items else "[]"


def decode_open(text: str) -> list[tuple[int, int, Refusal | None]]:
    return _OPEN.decode(text)


def moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
