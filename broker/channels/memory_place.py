"""A trigger's place in a channel in memory: what waits for it, and its account."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from broker.channels.clock import Alarm, after
from broker.channels.lines import Lines
from broker.event import Event
from broker.ports import Refusal


@dataclass(slots=True)
class Item:
    """One event on its way to one trigger."""

    position: int
    event: Event
    at: datetime
    attempts: int = 0
    condemned: Refusal | None = None

    @property
    def size(self) -> int:
        return 0  # memory is bounded for all triggers together


class MemoryPlace:
    """What is known of a trigger, whether it is subscribed or not.

    ``read`` is up to where it has got the log.
    """

    def __init__(self, *, read: int) -> None:
        self.read = read
        self.matched = 0
        self.delivered = 0
        self.dead = 0
        self.gone = False
        self._wake: Callable[[], None] | None = None
        self._new: deque[Item] = deque()
        self._returned: deque[Item] = deque()
        self._out: dict[int, Item] = {}
        self._deferred: dict[int, Item] = {}
        self._alarm = Alarm(self._ring)
        self._lines: Lines[Item] | None = None

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, wake: Callable[[], None], *, ordered: bool) -> None:
        """Begin to claim, or go on with another wake and order."""
        self._wake, self.gone = wake, False
        if ordered or self._lines is not None:
            self._lines = self._lines or Lines(bounded=False)
            self._lines.enter(self._begun(), strict=ordered)
        self._alarm.turn_on()

    def leave(self) -> None:
        """Stop claiming."""
        self._wake = None
        self._alarm.turn_off()

    @property
    def subscribed(self) -> bool:
        return self._wake is not None

    # --- claims ----------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Take in an event that matches."""
        self.matched += 1
        self._new.append(item)
        self._stir()

    def claim(self) -> Item | None:
        """Return the next event to deliver, or None where there is none."""
        item = self._returned.popleft() if self._returned else self._next()
        if item is not None:
            self._out[item.position] = item
        return item

    def close(self, position: int) -> Item:
        """Be done with a claim."""
        item = self._out.pop(position)
        if self._lines is not None:
            self._lines.end(item)
            self._stir()
        return item

    def defer(
        self, position: int, delay: timedelta, attempts: int, condemned: Refusal | None
    ) -> None:
        """Let a claim come again after ``delay``; it keeps its place in line."""
        item = self._deferred[position] = self._out.pop(position)
        item.attempts, item.condemned = attempts, condemned
        self._alarm.put(position, after(delay))

    def release(self, position: int) -> None:
        self._returned.appendleft(self._out.pop(position))
        self._stir()

    def _next(self) -> Item | None:
        if self._lines is None:
            return self._new.popleft() if self._new else None
        item = self._lines.next()
        while item is None and self._new:
            new = self._new.popleft()
            if self._lines.admit(new):
                item = new
        return item

    def _ring(self) -> None:
        for position in self._alarm.take_due():
            self._returned.append(self._deferred.pop(position))
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None:
            self._wake()

    # --- the account -----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        in_line = 0 if self._lines is None else self._lines.waiting
        begun = len(self._returned) + len(self._out) + len(self._deferred)
        return len(self._new) + in_line + begun

    @property
    def oldest_waiting(self) -> datetime | None:
        in_line = () if self._lines is None else self._lines.at_hand()
        oldest = chain(self._begun(), in_line, islice(self._new, 1))
        return min((item.at for item in oldest), default=None)

    def _begun(self) -> Iterator[Item]:
        yield from self._returned
        yield from self._out.values()
        yield from self._deferred.values()
