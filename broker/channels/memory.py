"""The ``memory:`` channel: for tests and trials. Nothing outlives the process.

The data belongs to the backend object and not to the time it is entered, so that leaving and
entering it again is to this channel what a restart is to a durable one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Self

from broker.channels.memory_log import MemoryLog
from broker.channels.observers import Observers
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.filters import Filter, FilterIndex
from broker.ports import BackendOptions, Books, Claim, DeadLetter, Fault, Outcome, Refusal, Stored

MAX_WAITING: Final = 1_000_000
"""Deliveries that may wait in all triggers of one broker; beyond, `append` refuses."""


class MemoryBackend:
    """Channels in memory. While ``outage`` holds a text, the store is gone for that reason."""

    shared: ClassVar[bool] = False

    def __init__(self, options: BackendOptions) -> None:
        self._history = options.retention_bytes
        self._channels: dict[str, MemoryChannel] = {}
        self.outage: str | None = None

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self:
        return cls(options)

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for channel in self._channels.values():
            channel.close()

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> MemoryChannel:
        return self._channels.setdefault(broker, MemoryChannel(self, self._history))


@dataclass(slots=True)
class _Item:
    """One event on its way to one trigger."""

    position: int
    event: Event
    at: datetime
    attempts: int = 0
    condemned: Refusal | None = None


@dataclass(slots=True)
class _Place:
    """What is known of a trigger, whether it is subscribed or not."""

    queue: deque[_Item] = field(default_factory=deque)
    out: dict[int, _Item] = field(default_factory=dict)
    deferred: dict[int, tuple[float, _Item]] = field(default_factory=dict)
    read: int = 0
    matched: int = 0
    delivered: int = 0
    dead: int = 0
    cursor: _Cursor | None = None
    gone: bool = False

    def items(self) -> list[_Item]:
        return [*self.queue, *self.out.values(), *(item for _, item in self.deferred.values())]


class MemoryChannel:
    """The events of one broker, in memory. See `broker.ports.Channel`."""

    def __init__(self, backend: MemoryBackend, history_bytes: int) -> None:
        self._backend = backend
        self._log = MemoryLog(history_bytes)
        self._index = FilterIndex()
        self._places: dict[str, _Place] = {}
        self.waiting = 0
        self._observers = Observers()
        self.dead_letters = _DeadLetters()

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        await self.check()
        if self.waiting > MAX_WAITING:
            raise ChannelFull(f"more than {MAX_WAITING:,} deliveries are waiting in memory")
        now = datetime.now(UTC)
        for event in events:
            position = self._log.append(event, now, to)
            for trigger in self._addressees(event, to):
                place = self._places[trigger]
                self._enqueue(place, _Item(position, event, now))
                if place.cursor is not None:
                    place.cursor.wake.set()
            self._observers.show(event)

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int
    ) -> AsyncIterator[_Cursor]:
        place = self._places.get(trigger)
        if place is None:
            place = self._places[trigger] = _Place(read=self._log.tail)
        if place.cursor is not None:
            place.cursor.retire()
        else:
            self._catch_up(trigger, place, filter)
        place.gone = False
        cursor = place.cursor = _Cursor(self, trigger, place, window)
        self._index.put(trigger, filter)
        try:
            yield cursor
        finally:
            cursor.retire()
            cursor.return_claims()
            if place.cursor is cursor:
                place.cursor = None
                place.read = self._log.tail
                self._index.discard(trigger)

    async def unsubscribe(self, trigger: str) -> None:
        place = self._places.get(trigger)
        if place is not None and place.cursor is None:
            place.gone = True

    async def triggers(self) -> Collection[str]:
        return [key for key, place in self._places.items() if not place.gone]

    async def check(self) -> None:
        if self._backend.outage is not None:
            raise ChannelUnavailable(self._backend.outage)

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        await self.check()
        return await self._log.history(since=since, after=after, id=id, limit=limit)

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._observers.follow()

    async def accepted(self) -> int:
        return self._log.tail

    async def books(self) -> Mapping[str, Books]:
        return {
            trigger: Books(
                matched=place.matched,
                delivered=place.delivered,
                dead_lettered=place.dead,
                waiting=len(place.items()),
                oldest_waiting=min((item.at for item in place.items()), default=None),
            )
            for trigger, place in self._places.items()
            if place.cursor is not None
        }

    def close(self) -> None:
        """Put what was deferred back in order for the next time the backend is entered."""
        for place in self._places.values():
            if place.cursor is not None:
                place.cursor.retire()

    def _addressees(self, event: Event, to: str | None) -> Sequence[str]:
        if to is None:
            return self._index.matching(event.attributes)
        place = self._places.get(to)
        return [to] if place is not None and place.cursor is not None else []

    def _enqueue(self, place: _Place, item: _Item) -> None:
        place.matched += 1
        self.waiting += 1
        place.queue.append(item)

    def _catch_up(self, trigger: str, place: _Place, filter: Filter) -> None:
        """Give a trigger that comes back what was appended while it was away."""
        for position, stored in self._log.behind(place.read):
            event, to = stored.event, stored.to
            mine = to == trigger if to is not None else filter.matches(event.attributes)
            if mine:
                self._enqueue(place, _Item(position, event, stored.at))


class _Cursor:
    def __init__(self, channel: MemoryChannel, trigger: str, place: _Place, window: int) -> None:
        self.wake = asyncio.Event()
        self._channel = channel
        self._trigger = trigger
        self._place = place
        self._window = window
        self._retired = False
        self._mine: set[int] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        for due, item in list(place.deferred.values()):
            self._arm(due, item)

    async def claims(self) -> AsyncIterator[Claim]:
        while not self._retired:
            if len(self._mine) >= self._window or not self._place.queue:
                self.wake.clear()
                await self.wake.wait()
                continue
            item = self._place.queue.popleft()
            self._place.out[item.position] = item
            self._mine.add(item.position)
            yield Claim(
                event=item.event,
                attempts=item.attempts,
                condemned=item.condemned,
                position=item.position,
            )

    async def settle(self, claim: Claim, outcome: Outcome) -> None:
        self._take(claim)
        self._channel.waiting -= 1
        match outcome:
            case Outcome.DELIVERED:
                self._place.delivered += 1
            case Outcome.DEAD_LETTERED:
                self._place.dead += 1

    async def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        item = self._take(claim)
        item.attempts, item.condemned = attempts, condemned
        due = time.time() + delay.total_seconds()
        self._place.deferred[item.position] = (due, item)
        (self._place.cursor or self)._arm(due, item)

    async def release(self, claim: Claim) -> None:
        self._give_back(self._take(claim))

    async def bury(self, claim: Claim, why: Refusal) -> None:
        item = self._take(claim)
        self._channel.waiting -= 1
        self._channel.dead_letters.add(self._trigger, item.event, why)
        self._place.dead += 1

    def retire(self) -> None:
        """End the claims; what is out may still be settled."""
        self._retired = True
        self.wake.set()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def return_claims(self) -> None:
        for position in sorted(self._mine, reverse=True):
            self._give_back(self._place.out.pop(position))
        self._mine.clear()

    def _take(self, claim: Claim) -> _Item:
        position = claim.position
        if not isinstance(position, int) or position not in self._mine:
            raise ValueError(f"this claim on {claim.event.id} is not out")
        self._mine.remove(position)
        self.wake.set()
        return self._place.out.pop(position)

    def _give_back(self, item: _Item) -> None:
        self._place.queue.appendleft(item)
        if self._place.cursor is not None:
            self._place.cursor.wake.set()

    def _arm(self, due: float, item: _Item) -> None:
        if self._retired:
            return
        loop = asyncio.get_running_loop()

        def comes_back() -> None:
            self._timers.discard(timer)
            if self._place.deferred.pop(item.position, None) is not None:
                self._give_back(item)

        timer = loop.call_later(max(0.0, due - time.time()), comes_back)
        self._timers.add(timer)


class _DeadLetters:
    def __init__(self) -> None:
        self._letters: dict[str, DeadLetter] = {}
        self._last = 0

    def add(self, trigger: str, event: Event, why: Refusal) -> None:
        self._last += 1
        letter = DeadLetter(
            id=f"{self._last:016d}",
            trigger=trigger,
            event=event,
            why=why,
            buried_at=datetime.now(UTC),
        )
        self._letters[letter.id] = letter

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        return [
            letter
            for letter in self._letters.values()
            if trigger in (None, letter.trigger) and letter.id > (after or "")
        ][:limit]

    async def get(self, id: str) -> DeadLetter | None:
        return self._letters.get(id)

    async def remove(self, ids: Sequence[str]) -> int:
        return sum(self._letters.pop(each, None) is not None for each in set(ids))
