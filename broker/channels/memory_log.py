"""The log of a channel in memory: the newest events, as far as its bound lets it keep them."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from broker.channels.history import CLOCK_STEP, position_number
from broker.event import Event
from broker.ports import Stored

_AT_ONCE: Final = 10_000
"""Events looked at before others get their turn."""


_Kept = tuple[datetime, Event, str | None]
"""When an event was accepted, the event, and to whom it is addressed."""


class MemoryLog:
    """Numbers events from 1 on. ``tail`` is the number of the newest, kept or not."""

    def __init__(self, max_bytes: int) -> None:
        self.tail = 0
        self._max_bytes = max_bytes
        self._first = 1
        self._kept: dict[int, _Kept] = {}  # a deque is slow in its middle
        self._bytes = 0

    def append(self, event: Event, at: datetime, to: str | None) -> int:
        """Take in the event, in place of the oldest if there is no room; return its number."""
        self.tail += 1
        self._kept[self.tail] = (at, event, to)
        self._bytes += _size(event)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._kept.pop(self._first)[1])
            self._first += 1
        return self.tail

    def behind(self, number: int) -> Iterator[tuple[int, datetime, Event, str | None]]:
        """Yield what is kept behind that number, each with its own."""
        for each in range(max(number + 1, self._first), self.tail + 1):
            yield each, *self._kept[each]

    async def history(
        self, *, since: datetime | None, after: str | None, id: str | None, limit: int
    ) -> Sequence[Stored]:
        """See `broker.ports.Channel.history`."""
        found: list[Stored] = []
        start = max(position_number(after) + 1, self._accepted_around(since))
        for number in range(start, self.tail + 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            kept = self._kept.get(number)
            if kept is None:  # there was no room for it meanwhile
                continue
            at, event, to = kept
            if (since is None or at >= since) and (id is None or event.id == id):
                bare = event.without_data()
                found.append(Stored(position=str(number), at=at, event=bare, to=to))
                if len(found) == limit:
                    break
        return found

    def _accepted_around(self, since: datetime | None) -> int:
        """Return a number before which nothing was accepted since then."""
        if since is None:
            return self._first
        numbers = range(self._first, self.tail + 1)
        return self._first + bisect_left(
            numbers, since, key=lambda number: self._kept[number][0] + CLOCK_STEP
        )


def _size(event: Event) -> int:
    return 500 + len(event.data or b"")  # roughly what the attributes and objects take
