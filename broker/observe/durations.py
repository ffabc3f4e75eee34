"""Durations, counted in buckets."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from broker.status import Tally

_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 1800.0, 7200.0),  # seconds, as events may wait, and jobs take their time
)
BOUNDS: Final = (*map(str, _SECONDS), "+Inf")
"""The upper bounds of all buckets, as text."""


class Durations:
    """Adds durations up on the event loop alone: the library's own, with locks, cost eight times.

    Each one counts in the one bucket that it falls into.
    """

    __slots__ = ("_buckets", "_seconds")

    def __init__(self) -> None:
        self._buckets = [0] * len(BOUNDS)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        self._buckets[bisect_left(_SECONDS, seconds)] += 1
        self._seconds += seconds

    @property
    def tally(self) -> Tally:
        """What has been added up until now."""
        return Tally(buckets=tuple(self._buckets), seconds=self._seconds)
