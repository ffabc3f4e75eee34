"""How fast attempts may follow one another."""

from __future__ import annotations

from broker.policy import Rate


class Pace:
    """A rate with a burst, as the generic cell rate algorithm keeps it (ITU-T I.371, annex A).

    All times are seconds by one clock.
    """

    def __init__(self, rate: Rate) -> None:
        self._interval = 1 / rate.per_second
        self._ahead = self._interval * (rate.burst - 1)
        self._caught_up = float("-inf")  # when as many may follow at once again as ever

    @property
    def ready_at(self) -> float:
        """When the next attempt may begin."""
        return self._caught_up - self._ahead

    def begin(self, now: float) -> None:
        """Count an attempt that begins."""
        self._caught_up = max(self._caught_up, now) + self._interval
