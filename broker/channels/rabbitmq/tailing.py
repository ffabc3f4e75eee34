"""Follows what is appended to a broker's stream of all events, by whichever process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from aiormq.abc import AbstractConnection

from broker.channels.observers import Observers
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.errors import InvalidEvent
from broker.event import Event


class Tailing:
    """Everybody who follows one broker's events, by one consumer: it is there while anybody is."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._following: dict[Observers, int] = {}
        self._reading: asyncio.Task[None] | None = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Ask for nothing yet."""
        self._tasks = await self._resources.enter_async_context(asyncio.TaskGroup())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop()
        await self._resources.aclose()

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `broker.ports.Channel.tail`. Raises `ChannelUnavailable` when it is entered.

        Outages are sat out, and what was appended meanwhile is shown after them. What is no
        CloudEvent is passed over.
        """
        end = await self._stream.end()
        observers = Observers()  # of one, as each begins elsewhere
        async with observers.follow() as events:
            self._following[observers] = end
            if self._reading is None:
                self._reading = self._tasks.create_task(self._read(end))
            try:
                yield events
            finally:
                del self._following[observers]
                if not self._following:
                    self._stop()

    def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self, start: int) -> None:
        reached = start
        begun = False

        async def follow(_: AbstractConnection) -> None:
            nonlocal reached, begun
            if begun and await self._stream.end() < reached:  # somebody made the stream anew
                reached = 0
                self._following = dict.fromkeys(self._following, 0)
            begun = True
            async with self._stream.follow(reached) as entries:
                async for entry in entries:
                    reached = entry.offset + 1
                    self._show(entry)

        await self._stream.link.keep(follow)

    def _show(self, entry: Entry) -> None:
        try:
            event, _ = entry.decode()
        except InvalidEvent:
            return
        for observers, start in self._following.items():
            if entry.offset >= start:
                observers.show(event)
