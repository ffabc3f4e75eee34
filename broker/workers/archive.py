"""What a broker keeps in several shards, as if it were in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, Final, Protocol

from broker.channels.causes import causes_of
from broker.channels.observers import Observers
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Archive, Cause, DeadLetter, DeadLetters, Stored
from broker.settings import MAX_SHARDS

_BETWEEN: Final = "."

_FIRST_OF_SHARDS: Final = 10**15
"""Ids below were given when there was one shard alone."""

_AGAIN: Final = 1.0
"""Seconds after which a shard that could not be followed is tried again."""


class Way(Protocol):
    """The way to a worker; see `broker.workers.link.Link`."""

    def call(self, name: str, *args: object, **options: object) -> asyncio.Future[Any]: ...

    def follow(
        self, name: str, *args: object
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...


def shard_of(id: str) -> int:
    """Return the number of the process whose dead letter has that id, or would have it."""
    number = int(id) if id.isascii() and id.isdigit() and len(id) < 19 else 0
    return number % MAX_SHARDS if number >= _FIRST_OF_SHARDS else 0


class RemoteArchive:
    """An `Archive`: that of a broker in a worker."""

    def __init__(self, broker: str, worker: Way) -> None:
        self.dead_letters = _RemoteDeadLetters(broker, worker)
        self._broker = broker
        self._worker = worker

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        stored: Sequence[Stored] = await self._worker.call(
            "history", self._broker, since=since, after=after, id=id, limit=limit
        )
        return stored

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._worker.follow("tail", self._broker)


class _RemoteDeadLetters:
    """See `broker.ports.DeadLetters`."""

    def __init__(self, broker: str, worker: Way) -> None:
        self._broker = broker
        self._worker = worker

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        letters: Sequence[DeadLetter] = await self._worker.call(
            "list", self._broker, trigger=trigger, after=after, limit=limit
        )
        return letters

    async def causes(self) -> Sequence[Cause]:
        causes: Sequence[Cause] = await self._worker.call("causes", self._broker)
        return causes

    async def get(self, id: str) -> DeadLetter | None:
        found: DeadLetter | None = await self._worker.call("get", self._broker, id)
        return found

    async def remove(self, ids: Sequence[str]) -> int:
        count: int = await self._worker.call("remove", self._broker, ids)
        return count


class GatheredArchive:
    """An `Archive`: that of a broker ``here``, and its shards in the workers."""

    def __init__(self, here: Archive, others: Sequence[Archive]) -> None:
        self._shards = [here, *others]
        self.dead_letters: DeadLetters = _GatheredDeadLetters(
            [each.dead_letters for each in self._shards]
        )

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        """See `Archive`. A position here is how far each shard has been read."""
        read = self._positions(after)
        pages = await asyncio.gather(
            *(
                shard.history(since=since, after=position, id=id, limit=limit)
                for shard, position in zip(self._shards, read, strict=True)
            )
        )
        found: list[Stored] = []
        numbered = [[(number, each) for each in page] for number, page in enumerate(pages)]
        for number, stored in islice(merge(*numbered, key=lambda each: each[1].at), limit):
            read[number] = stored.position
            position = _BETWEEN.join(each or "" for each in read)
            found.append(Stored(position=position, at=stored.at, event=stored.event, to=stored.to))
        return found

    def _positions(self, after: str | None) -> list[str | None]:
        if after is None:
            return [None] * len(self._shards)
        positions = [each or None for each in after.split(_BETWEEN)]
        if len(positions) != len(self._shards):
            raise ValueError(f"'{after}' is no position in {len(self._shards)} shards")
        return positions

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Archive`. A shard that is out for a while is followed again when it is back."""
        observers = Observers()
        async with observers.follow() as shown, asyncio.TaskGroup() as group:
            begun = [asyncio.Event() for _ in self._shards]
            tasks = [
                group.create_task(_show(shard, observers, each))
                for shard, each in zip(self._shards, begun, strict=True)
            ]
            try:
                for each in begun:
                    await each.wait()
                yield shown
            finally:
                for task in tasks:
                    task.cancel()


async def _show(shard: Archive, observers: Observers, begun: asyncio.Event) -> None:
    """Show what comes in, until cancelled. ``begun`` is set once it does, or cannot be."""
    while True:
        with suppress(ChannelUnavailable):
            async with shard.tail() as events:
                begun.set()
                async for event in events:
                    observers.show(event)
        begun.set()
        await asyncio.sleep(_AGAIN)


class _GatheredDeadLetters:
    """See `broker.ports.DeadLetters`. The ids of all shards sort by time, and tell the shard."""

    def __init__(self, shards: Sequence[DeadLetters]) -> None:
        self._shards = shards

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        pages = await asyncio.gather(
            *(each.list(trigger=trigger, after=after, limit=limit) for each in self._shards)
        )
        return list(islice(merge(*pages, key=lambda each: each.id), limit))

    async def causes(self) -> Sequence[Cause]:
        """See `broker.ports.CountingDeadLetters`."""
        of_shards = await asyncio.gather(*map(causes_of, self._shards))
        return [each for causes in of_shards for each in causes]

    async def get(self, id: str) -> DeadLetter | None:
        number = shard_of(id)
        return await self._shards[number].get(id) if number < len(self._shards) else None

    async def remove(self, ids: Sequence[str]) -> int:
        of_shard: dict[int, list[str]] = {}
        for each in ids:
            of_shard.setdefault(shard_of(each), []).append(each)
        known = [(number, some) for number, some in of_shard.items() if number < len(self._shards)]
        return sum([await self._shards[number].remove(some) for number, some in known])
