"""The wall clock, and an alarm by it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now() -> int:
    """Return the wall-clock time in microseconds since 1970."""
    return time.time_ns() // 1000


def microseconds(time: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def after(delay: timedelta) -> int:
    """Return when ``delay`` will have passed, likewise."""
    return now() + delay // _MICROSECOND


class Alarm:
    """Positions, each with when it is due, in microseconds since 1970.

    ``ring`` is called when the first is due, as long as the alarm is on.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._due: list[tuple[int, int]] = []  # a heap
        self._on = False
        self._timer: asyncio.TimerHandle | None = None

    def put(self, position: int, due: int) -> None:
        heapq.heappush(self._due, (due, position))
        if self._due[0] == (due, position):
            self._set()

    def take_due(self) -> list[int]:
        """Return the positions that are due, most overdue first, and forget them."""
        found: list[int] = []
        until = now()
        while self._due and self._due[0][0] <= until:
            found.append(heapq.heappop(self._due)[1])
        self._set()
        return found

    def items(self) -> list[tuple[int, int]]:
        """Return each position with when it is due."""
        return [(position, due) for due, position in self._due]

    def turn_on(self) -> None:
        self._on = True
        self._set()

    def turn_off(self) -> None:
        self._on = False
        self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on and self._due:
            seconds = max(0.0, (self._due[0][0] - now()) / 1e6)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)
