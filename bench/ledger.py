"""Who sent what, and what arrived: every event counts."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UNSENT: Final = 0
UNANSWERED: Final = 1
ACCEPTED: Final = 2
REFUSED: Final = 3

_MOST: Final = 255  # a count is one byte
_MORE: Final = bytes(1 << 14)


class Sent:
    """What a load generator has sent, by number, and what it was told."""

    def __init__(self) -> None:
        self.states: Final = bytearray()

    def note(self, number: int, state: int) -> None:
        while number >= len(self.states):
            self.states.extend(_MORE)
        self.states[number] = state


class Arrived:
    """What has arrived at one place of a sink, by number; times are of `time.monotonic_ns`."""

    def __init__(self) -> None:
        self.counts: Final = bytearray()
        self.latencies: Final = array("q")
        self.events = 0
        self.last = 0

    def note(self, number: int, due: int, now: int) -> None:
        """Count an event that was due then and is here now; latencies are those of first comers."""
        while number >= len(self.counts):
            self.counts.extend(_MORE)
        self.last = now
        if self.counts[number] == 0:
            self.events += 1
            self.latencies.append(now - due)
        if self.counts[number] < _MOST:
            self.counts[number] += 1


class EventsLost(Exception):
    """What was accepted has not arrived, or what was not has: the run counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What became of the events of one run at one place.

    ``missing`` were accepted and have not arrived, ``uninvited`` have arrived and were refused,
    or never sent; both name the events by their numbers. ``duplicates`` counts the arrivals beyond
    the first.
    """

    accepted: int
    arrived: int
    duplicates: int
    missing: Sequence[int]
    uninvited: Sequence[int]

    def check(self, what: str) -> None:
        """Raise `EventsLost` unless everything accepted has arrived, and nothing else."""
        for numbers, fate in ((self.missing, "missing"), (self.uninvited, "uninvited")):
            if numbers:
                some = ", ".join(str(number) for number in numbers[:10])
                raise EventsLost(
                    f"{what}: {len(numbers):,} of {self.accepted:,} accepted events {fate}: "
                    f"numbers {some}{', …' if len(numbers) > 10 else ''}"
                )


def balance(sent: bytes, arrived: bytes) -> Balance:
    """Return the balance of the states of `Sent` and the counts of `Arrived`."""
    length = max(len(sent), len(arrived))
    states, counts = sent.ljust(length, b"\0"), arrived.ljust(length, b"\0")
    never = (UNSENT, REFUSED)
    return Balance(
        accepted=states.count(ACCEPTED),
        arrived=length - counts.count(0),
        duplicates=sum(counts) - (length - counts.count(0)),
        missing=[n for n in range(length) if states[n] == ACCEPTED and not counts[n]],
        uninvited=[n for n in range(length) if counts[n] and states[n] in never],
    )
