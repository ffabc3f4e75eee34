"""Those who follow what is appended to a channel, and may miss some of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from broker.event import Event

_BUFFER: Final = 1_000
"""Events that are kept for an observer that is slow; it misses what comes beyond."""


class Observers:
    """Everybody who follows one channel. See `broker.ports.Channel.tail`."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event]] = set()

    def show(self, event: Event) -> None:
        for queue in self._queues:
            if not queue.full():
                queue.put_nowait(event)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[Event]]:
        queue: asyncio.Queue[Event] = asyncio.Queue(_BUFFER)
        self._queues.add(queue)
        try:
            yield _drain(queue)
        finally:
            self._queues.discard(queue)


async def _drain(queue: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        yield await queue.get()
