"""Records of a partition as the mesh reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from broker.codecs.kafka import Headers, decode
from broker.event import Event
from broker.ports import Refusal

_OVERHEAD = 600
"""Bytes that an entry takes in memory beside its payload, roughly."""

_LAST = 253_402_300_799_000
"""The last second of the year 9999. Anybody may write records of any time, or of none: -1."""


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Entry:
    """One event in a partition.

    ``position`` is its offset, ``at`` its timestamp in microseconds since 1970, ``to`` the one
    trigger that it is for, or None where the filters decide; ``attempts``, ``condemned``,
    ``accepted`` and ``due`` are those of a delivery that was put off.
    """

    position: int
    at: int
    event: Event
    to: str | None
    attempts: int
    condemned: Refusal | None
    size: int
    accepted: datetime | None = None
    due: datetime | None = None

    @property
    def accepted_at(self) -> datetime:
        """When the event was accepted: a record of a delay is younger."""
        return self.accepted or datetime.fromtimestamp(self.at / 1e6, UTC)


def entry_of(offset: int, timestamp: int, headers: Headers, value: bytes | None) -> Entry:
    """Return the entry of a record with a timestamp in ms; raises `InvalidEvent`."""
    event, notes = decode(headers, value)
    return Entry(
        position=offset,
        # The end of that millisecond, so that nothing is said to be from before it was appended.
        at=min(max(timestamp, 0), _LAST) * 1000 + 999,
        event=event,
        to=notes.to,
        attempts=notes.attempts,
        condemned=notes.condemned,
        size=_OVERHEAD + len(value or b""),
        accepted=notes.accepted,
        due=notes.due,
    )
