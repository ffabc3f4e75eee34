"""Records of a partition as the mesh reads them."""

from __future__ import annotations

from dataclasses import dataclass

from broker.codecs.kafka import Headers, decode
from broker.event import Event
from broker.ports import Refusal

_OVERHEAD = 600
"""Bytes that an entry takes in memory beside its payload, roughly."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in a partition.

    ``position`` is its offset, ``at`` its timestamp in microseconds since 1970, ``to`` the one
    trigger that it is for, or None where the filters decide; ``attempts`` and ``condemned`` are
    those of a delivery that was put off.
    """

    position: int
    at: int
    event: Event
    to: str | None
    attempts: int
    condemned: Refusal | None
    size: int


def entry_of(offset: int, timestamp: int, headers: Headers, value: bytes | None) -> Entry:
    """Return the entry of a record with a timestamp in ms; raises `InvalidEvent`."""
    event, notes = decode(headers, value)
    return Entry(
        position=offset,
        at=timestamp * 1000,
        event=event,
        to=notes.to,
        attempts=notes.attempts,
        condemned=notes.condemned,
        size=_OVERHEAD + len(value or b""),
    )
