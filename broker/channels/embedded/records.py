"""How events and refusals stand in the file.

The attributes are JSON with the types that are known, so that a person with the ``sqlite3``
shell can read and query them; the payload is its bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from broker.channels.line import StoredLine
from broker.event import Event, Value
from broker.ports import Refusal

_ENCODER: Final = msgspec.json.Encoder()
_HEAD: Final = msgspec.json.Decoder(dict[str, Value])
_REFUSAL: Final = msgspec.json.Decoder(Refusal)


class InOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits in order of its key: when put off claims are due, and what is behind them."""

    due: list[tuple[int, int]] = []
    lines: list[StoredLine] = []


_IN_ORDER: Final = msgspec.json.Decoder(InOrder)
_OPEN: Final = msgspec.json.Decoder(list[tuple[int, int, Refusal | None]])

OVERHEAD: Final = 64
"""Bytes that a row takes beside its head and data, roughly."""


class Record(msgspec.Struct, frozen=True):  # made in a tenth of a frozen dataclass's time
    """One event in the log. ``at`` is when it was accepted, in microseconds since 1970."""

    position: int
    at: int
    event: Event
    addressee: str | None
    size: int


def encode_head(event: Event) -> str:
    return _ENCODER.encode(event.typed).decode()


def decode_event(head: str, data: bytes | None, hops: int, trace: str | None) -> Event:
    return Event.of_typed(_HEAD.decode(head), data, hops, trace)


def decode_record(
    position: int,
    at: int,
    hops: int,
    addressee: str | None,
    head: str,
    data: bytes | None,
    trace: str | None,
) -> Record:
    """Return the record of a row of `COLUMNS`."""
    event = decode_event(head, data, hops, trace)
    return Record(position, at, event, addressee, len(head) + len(data or b"") + OVERHEAD)


COLUMNS: Final = "position, at, hops, addressee, head, data, trace"


def encode_refusal(refusal: Refusal | None) -> str | None:
    return None if refusal is None else _ENCODER.encode(refusal).decode()


def decode_refusal(text: str) -> Refusal:
    return _REFUSAL.decode(text)


def encode_open(items: list[tuple[int, int, Refusal | None]]) -> str:
    return _ENCODER.encode(items).decode() if items else "[]"


def decode_open(text: str) -> list[tuple[int, int, Refusal | None]]:
    return _OPEN.decode(text)


def encode_lines(due: list[tuple[int, int]], lines: list[StoredLine]) -> str | None:
    return _ENCODER.encode(InOrder(due, lines)).decode() if due or lines else None


def decode_lines(text: str | None) -> InOrder:
    return InOrder() if text is None else _IN_ORDER.decode(text)


def moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
