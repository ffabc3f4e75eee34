"""The breaker's bookkeeping: whether a subscriber is tried, by how the attempts before went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.policy import Breaker
from delivery.backoff import LONGEST_WAIT

_NOW: Final = float("-inf")
_LATER: Final = float("inf")

_CONVINCING: Final = 10
"""Attempts that have to come through before a subscriber counts as recovered."""


class Circuit:
    """Closed, open, or closing step by step. All times are seconds by one clock.

    It opens after ``policy.failures`` failures in a row. While it is open, one attempt at a time
    probes the subscriber when a pause is over. With the first that succeeds it begins to close:
    one more attempt is let through beside the others for every one that succeeds, which doubles
    them from round to round, until there may be as many as ``full``. The subscriber has recovered
    long before where that is a lot, lest one with little traffic never does. An attempt that
    began before it opened tells nothing about afterwards, so its end counts no more.

    ``share`` returns by what each pause is multiplied, lest many probe in step.
    """

    def __init__(self, policy: Breaker, *, full: int, share: Callable[[], float]) -> None:
        self.until = _NOW
        self.why = ""
        self.turn = 0  # of the attempts that begin now: how often it has opened
        self._policy = policy
        self._full = full
        self._share = share
        self._room: int | None = None  # at once; 0 while it is open, None while it is closed
        self._under_way = 0
        self._failures = 0  # in a row
        self._pauses = 0

    @property
    def is_open(self) -> bool:
        return self._room == 0

    @property
    def is_recovered(self) -> bool:
        """Whether the subscriber works, for all that is known."""
        return self._room is None or self._room >= min(self._full, _CONVINCING)

    @property
    def is_calm(self) -> bool:
        """Whether it is closed, and the attempt that ended last succeeded."""
        return self._room is None and self._failures == 0

    @property
    def ready_at(self) -> float:
        """When the next attempt may begin; never where one has to end before that."""
        if self._room is None:
            return _NOW
        if self._room == 0:
            return _LATER if self._under_way else self.until
        return _NOW if self._under_way < self._room else _LATER

    def begin(self) -> None:
        """Count an attempt that begins. While it is closed, that may be left out."""
        self._under_way += 1

    def end(self, turn: int) -> None:
        """Count an attempt of that turn as over, however it went."""
        if turn == self.turn and self._room is not None:
            self._under_way -= 1

    def succeeded(self, turn: int) -> None:
        """Note that the subscriber works."""
        if turn != self.turn:
            return
        self._failures = 0
        if self._room is not None:
            self._room += 1
            if self.is_recovered:
                self._pauses = 0
            if self._room >= self._full:
                self._room = None

    def failed(self, turn: int, why: str, now: float) -> None:
        """Note that it does not; open if that was one too many."""
        if turn != self.turn:
            return
        self._failures += 1
        enough = self._policy.failures
        if self._room is not None:
            enough = min(enough, max(1, self._room))
        if self._failures >= enough:
            self._open(why, now)

    def resume(self) -> None:
        """Begin to close, whatever is known of the subscriber."""
        if self._room == 0:
            self._room, self._failures = 1, 0

    def _open(self, why: str, now: float) -> None:
        longest = min(self._policy.max_pause, LONGEST_WAIT).total_seconds()
        pause = min(self._policy.pause.total_seconds() * 2.0 ** min(self._pauses, 100), longest)
        times = f"{self._failures} attempts in a row" if self._failures > 1 else "an attempt"
        self.why = f"{times} failed: {why}"
        self.until = now + min(pause * self._share(), longest)
        self._pauses += 1
        self._room = self._under_way = self._failures = 0
        self.turn += 1
