"""Follows what is appended to a broker's topic, by whichever process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, Self

from aiokafka import TopicPartition

from broker.channels.kafka.compacted import Read
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.reader import Reader
from broker.channels.kafka.settings import ClientOptions
from broker.channels.observers import Observers
from broker.codecs.kafka import decode
from broker.errors import ChannelUnavailable, InvalidEvent
from broker.event import Event

LOOKS_EVERY: Final = timedelta(seconds=30)
"""How often is looked whether partitions were added."""

_FETCH_BYTES: Final = 1 << 20

_Show = Callable[[int, int, Event], None]


class Tailing:
    """Everybody who follows one broker's events, by one consumer: it is there while anybody is."""

    def __init__(
        self,
        options: ClientOptions,
        topic: str,
        offsets: Offsets,
        *,
        looks_every: timedelta = LOOKS_EVERY,
    ) -> None:
        self._options = options
        self._topic = topic
        self._offsets = offsets
        self._looks_every = looks_every
        self._following: dict[Observers, Mapping[int, int]] = {}
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._reader: Reader | None = None
        self._reading: asyncio.Task[None] | None = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        self._tasks = await self._resources.enter_async_context(asyncio.TaskGroup())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop()
        await self._resources.aclose()

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `broker.ports.Channel.tail`. Raises `ChannelUnavailable` when it is entered.

        Outages are sat out. What is no CloudEvent is passed over.
        """
        ends = await self._offsets.ends(self._topic)
        observers = Observers()  # of one, as each begins elsewhere
        async with observers.follow() as events:
            self._following[observers] = ends
            if self._reader is None:
                self._start(ends)
            else:
                self._learn(self._reader, ends)
            try:
                yield events
            finally:
                del self._following[observers]
                if not self._following:
                    self._stop()

    def _start(self, ends: Mapping[int, int]) -> None:
        reader = self._reader = Reader(self._options, fetch_bytes=_FETCH_BYTES)
        self._partitions = {}
        self._read_on(reader, ends)
        self._reading = self._tasks.create_task(self._read(reader))

    def _stop(self) -> None:
        """Read no more, without waiting until the connections are closed."""
        self._reader = None
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, reader: Reader) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reader.run())
            while True:
                await asyncio.sleep(self._looks_every.total_seconds())
                with suppress(ChannelUnavailable):  # of which the reader tells
                    self._learn(reader, await self._offsets.ends(self._topic))

    def _learn(self, reader: Reader, ends: Mapping[int, int]) -> None:
        """Read the partitions that were added, from their beginnings."""
        known = {each.partition for each in self._partitions}
        added = dict.fromkeys(ends.keys() - known, 0)
        if added:
            self._read_on(reader, added)

    def _read_on(self, reader: Reader, offsets: Mapping[int, int]) -> None:
        for number, offset in offsets.items():
            partition = TopicPartition(self._topic, number)
            self._partitions[partition] = _Partition(number, offset, self._show)
        reader.assign(self._partitions)

    def _show(self, partition: int, offset: int, event: Event) -> None:
        for observers, ends in self._following.items():
            if offset >= ends.get(partition, 0):
                observers.show(event)


class _Partition:
    """One partition, from the offset ``next`` on. See `broker.channels.kafka.reader.Sweeping`."""

    def __init__(self, number: int, next: int, show: _Show) -> None:
        self.next = next
        self._number = number
        self._show = show

    async def take(self, records: Sequence[Read], reached: int) -> None:
        for record in records:
            try:
                event, _ = decode(record.headers, record.value)
            except InvalidEvent:
                continue
            self._show(self._number, record.offset, event)
        self.next = reached + 1
