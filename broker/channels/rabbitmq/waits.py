"""Deliveries that wait on the server: in which queue, and how many of them there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

STEPS: Final = tuple(250 << power for power in range(13))
"""How long a message stays in each of the delay queues, in milliseconds: up to 17 minutes."""

_BUCKET: Final = 125_000


def step(remaining: int) -> int | None:
    """Return the longest of the `STEPS` that fits into so many microseconds; None for none."""
    fitting = [each for each in STEPS if each * 1_000 <= remaining]
    return fitting[-1] if fitting else None


def bucket(at: int) -> int:
    """Return a time, rounded up, so that there are few of them; in microseconds since 1970."""
    return -(-at // _BUCKET) * _BUCKET


class Waits:
    """How many deliveries of each trigger this process has put into delay queues.

    They come out again by themselves, so that nobody has to count them: each is known by when.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, trigger: str, until: int) -> None:
        self._counts[trigger][until] += 1

    def of(self, trigger: str, now: int) -> int:
        """Return how many wait longer than until ``now``."""
        found = self._counts.get(trigger)
        if not found:
            return 0
        for until in [each for each in found if each <= now]:
            del found[until]
        return found.total()


def grouped(untils: Mapping[str, Sequence[int]]) -> dict[str, list[tuple[int, int]]]:
    """Return how many of each trigger's wait until when."""
    return {trigger: sorted(Counter(each).items()) for trigger, each in untils.items()}
