"""The ``memory:`` channel: for tests and trials. Nothing outlives the process.

The data belongs to the backend object and not to the time it is entered, so that leaving and
entering it again is to this channel what a restart is to a durable one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Self

from broker.channels.memory_log import MemoryLog
from broker.channels.memory_place import Item, MemoryPlace
from broker.channels.memory_stores import MemoryCheckpoints, MemoryDeadLetters, MemoryPauses
from broker.channels.observers import Observers
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.filters import Filter, FilterIndex
from broker.ports import BackendOptions, Books, Claim, Fault, Outcome, Refusal, Stored

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


class MemoryChannel:
    """The events of one broker, in memory. See `broker.ports.Channel`."""

    def __init__(self, backend: MemoryBackend, history_bytes: int) -> None:
        self._backend = backend
        self._log = MemoryLog(history_bytes)
        self._index = FilterIndex()
        self._places: dict[str, MemoryPlace] = {}
        self._cursors: dict[str, _Cursor] = {}
        self.waiting = 0
        self._observers = Observers()
        self.dead_letters = MemoryDeadLetters()
        self.pauses = MemoryPauses(self.check)
        self.checkpoints = MemoryCheckpoints(self.check)

    async def bury(self, event: Event, why: Refusal) -> None:
        await self.check()
        self.dead_letters.add("", event, why)

    async def alone(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """See `broker.ports.Channel`. No other process has this channel."""
        await work()

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        await self.submit(events, to=to)

    def submit(self, events: Sequence[Event], *, to: str | None = None) -> asyncio.Future[None]:
        """See `broker.ports.FutureChannel`. The future is done."""
        if self._backend.outage is not None:
            raise ChannelUnavailable(self._backend.outage)
        if self.waiting > MAX_WAITING:
            raise ChannelFull(f"more than {MAX_WAITING:,} deliveries are waiting in memory")
        now = datetime.now(UTC)
        for event in events:
            position = self._log.append(event, now, to)
            for trigger in self._addressees(event, to):
                self._put(self._places[trigger], Item(position, event, now))
            self._observers.show(event)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.set_result(None)
        return stored

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AsyncIterator[_Cursor]:
        place = self._places.get(trigger)
        if place is None:
            place = self._places[trigger] = MemoryPlace(read=self._log.tail)
        former = self._cursors.get(trigger)
        if former is not None:
            former.retire()
        else:
            self._catch_up(trigger, place, filter)
        cursor = self._cursors[trigger] = _Cursor(self, trigger, place, window)
        place.enter(cursor.wake, ordered=ordered)
        self._index.put(trigger, filter)
        try:
            yield cursor
        finally:
            cursor.retire()
            cursor.return_claims()
            if self._cursors.get(trigger) is cursor:
                del self._cursors[trigger]
                place.leave()
                place.read = self._log.tail
                self._index.discard(trigger)

    async def unsubscribe(self, trigger: str) -> None:
        place = self._places.get(trigger)
        if place is not None and not place.subscribed:
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
                waiting=place.waiting,
                oldest_waiting=place.oldest_waiting,
            )
            for trigger, place in self._places.items()
            if place.subscribed
        }

    def close(self) -> None:
        """End all claims."""
        for cursor in self._cursors.values():
            cursor.retire()

    def _addressees(self, event: Event, to: str | None) -> Sequence[str]:
        if to is None:
            return self._index.matching(event.attributes)
        return [to] if to in self._cursors else []

    def _put(self, place: MemoryPlace, item: Item) -> None:
        self.waiting += 1
        place.put(item)

    def _catch_up(self, trigger: str, place: MemoryPlace, filter: Filter) -> None:
        """Give a trigger that comes back what was appended while it was away."""
        for position, at, event, to in self._log.behind(place.read):
            mine = to == trigger if to is not None else filter.matches(event.attributes)
            if mine:
                self._put(place, Item(position, event, at))


class _Cursor:
    def __init__(
        self, channel: MemoryChannel, trigger: str, place: MemoryPlace, window: int
    ) -> None:
        self._channel = channel
        self._trigger = trigger
        self._place = place
        self._window = window
        self._awake = asyncio.Event()
        self._retired = False
        self._out: set[int] = set()

    async def claims(self) -> AsyncIterator[Claim]:
        while not self._retired:
            item = self._place.claim() if len(self._out) < self._window else None
            if item is None:
                self._awake.clear()
                await self._awake.wait()
                continue
            self._out.add(item.position)
            yield Claim(
                event=item.event,
                attempts=item.attempts,
                condemned=item.condemned,
                accepted_at=item.at,
                position=item.position,
            )

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        self._close(claim)
        match outcome:
            case Outcome.DELIVERED:
                self._place.delivered += 1
            case Outcome.DEAD_LETTERED:
                self._place.dead += 1

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        self._place.defer(self._take(claim), delay, attempts, condemned)

    def release(self, claim: Claim) -> None:
        self._place.release(self._take(claim))

    def bury(self, claim: Claim, why: Refusal) -> None:
        self._close(claim)
        self._channel.dead_letters.add(self._trigger, claim.event, why)
        self._place.dead += 1

    def wake(self) -> None:
        """There may be something to claim."""
        self._awake.set()

    def retire(self) -> None:
        """End the claims; what is out may still be settled."""
        self._retired = True
        self._awake.set()

    def return_claims(self) -> None:
        """Give back whatever is still out."""
        for position in sorted(self._out, reverse=True):
            self._place.release(position)
        self._out.clear()

    def _close(self, claim: Claim) -> None:
        self._place.close(self._take(claim))
        self._channel.waiting -= 1

    def _take(self, claim: Claim) -> int:
        position = claim.position
        if not isinstance(position, int) or position not in self._out:
            raise ValueError(f"this claim on {claim.event.id} is not out")
        self._out.remove(position)
        self._awake.set()
        return position
