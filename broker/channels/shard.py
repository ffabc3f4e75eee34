"""One process's part of a broker's events, where each process of a mesh has a part of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, Protocol

from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import Filter
from broker.ports import Books, Channel, Checkpoints, Cursor, DeadLetters, Pause, Refusal, Stored

_SOURCES: Final = "sources run in the first process of a mesh, and nowhere else"


class Upstream(Protocol):
    """The way to the first process, which does by name what is asked of it."""

    def call(self, name: str, *args: object) -> asyncio.Future[Any]:
        """Return what comes of it. Raises `ChannelUnavailable` where that process is gone."""
        ...


class ShardChannel:
    """A `Channel` that leaves to the first process what only one can do for all of them.

    That keeps the pauses; and, of a broker whose events some trigger gets in order, all events with
    a key: there is one order of them only where all are in one place. That place is the same
    whatever the number of processes, so it may change while some still wait.
    """

    def __init__(self, broker: str, shard: Channel, upstream: Upstream) -> None:
        self.pauses = _UpstreamPauses(broker, upstream)
        self.keeps_order = False
        self._broker = broker
        self._shard = shard
        # That of a `FutureChannel`, which has its future by then.
        self._put: Callable[..., Awaitable[None]] = getattr(shard, "submit", shard.append)
        self._upstream = upstream

    @property
    def checkpoints(self) -> Checkpoints:
        raise ChannelUnavailable(_SOURCES)

    async def bury(self, event: Event, why: Refusal) -> None:
        await self._shard.bury(event, why)

    async def alone(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        raise ChannelUnavailable(_SOURCES)

    @property
    def dead_letters(self) -> DeadLetters:
        return self._shard.dead_letters

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        if self._goes_upstream(events, to):
            await self._upstream.call("append", self._broker, events)
        else:
            await self._shard.append(events, to=to)

    def submit(self, events: Sequence[Event], *, to: str | None = None) -> asyncio.Future[None]:
        """See `broker.ports.FutureChannel`."""
        if self._goes_upstream(events, to):
            return self._upstream.call("append", self._broker, events)
        return asyncio.ensure_future(self._put(events, to=to))

    def _goes_upstream(self, events: Sequence[Event], to: str | None) -> bool:
        # The whole of a batch, as all of it is stored or nothing. A redrive stays where it was.
        return (
            self.keeps_order
            and to is None
            and any("partitionkey" in each.attributes for each in events)
        )

    def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AbstractAsyncContextManager[Cursor]:
        return self._shard.subscribe(trigger, filter=filter, window=window, ordered=ordered)

    async def unsubscribe(self, trigger: str) -> None:
        await self._shard.unsubscribe(trigger)

    async def triggers(self) -> Collection[str]:
        return await self._shard.triggers()

    async def check(self) -> None:
        await self._shard.check()

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        return await self._shard.history(since=since, after=after, id=id, limit=limit)

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._shard.tail()

    async def accepted(self) -> int:
        return await self._shard.accepted()

    async def books(self) -> Mapping[str, Books]:
        return await self._shard.books()


class _UpstreamPauses:
    """See `broker.ports.Pauses`."""

    def __init__(self, broker: str, upstream: Upstream) -> None:
        self._broker = broker
        self._upstream = upstream

    async def all(self) -> Mapping[str, Pause]:
        paused: Mapping[str, Pause] = await self._upstream.call("paused", self._broker)
        return paused

    async def put(self, trigger: str, pause: Pause) -> None:
        await self._upstream.call("put_pause", self._broker, trigger, pause)

    async def remove(self, trigger: str) -> None:
        await self._upstream.call("remove_pause", self._broker, trigger)
