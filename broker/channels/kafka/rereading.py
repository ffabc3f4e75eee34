"""Reads partitions again: what a trigger is behind with, and what was open before a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.channels.backlog import BUFFER_EVENTS
from broker.channels.kafka.compacted import PATIENCE, Read, close_consumer, open_consumer
from broker.channels.kafka.connecting import at, said
from broker.channels.kafka.entries import Entry, entry_of
from broker.channels.kafka.settings import ClientOptions
from broker.errors import ChannelUnavailable, InvalidEvent
from broker.filters import Filter

_CHUNK_RECORDS: Final = 1_000
_CHUNK_BYTES: Final = 2 << 20
_AT_ONCE: Final = 500
_WAIT_MS: Final = 500


class Rereading:
    """One consumer, of no group, that goes to whatever is asked for: one reads at a time.

    It is opened when it is first needed, and again after a fault.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._consumer: AIOKafkaConsumer | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    async def read(
        self, partition: TopicPartition, start: int, end: int, wanted: Callable[[Entry], bool]
    ) -> tuple[Sequence[Entry], int]:
        """Return entries in (start, end] that are wanted, and up to where they reach.

        What is no event is left out, and so is what is not there any more. Raises
        `ChannelUnavailable`.
        """
        found: list[Entry] = []
        size = taken = 0
        async with self._at(partition, start + 1) as reader:
            while await reader.position(partition) <= end:
                for record in await _some(reader, partition):
                    if record.offset > end:
                        return found, end
                    taken += 1
                    entry = _entry(record)
                    if entry is not None and wanted(entry):
                        found.append(entry)
                        size += entry.size
                    full = len(found) == BUFFER_EVENTS // 2 or size > _CHUNK_BYTES
                    if full or taken == _CHUNK_RECORDS:
                        return found, record.offset
        return found, end

    async def fetch(self, partition: TopicPartition, offsets: Sequence[int]) -> Sequence[Entry]:
        """Return the entries at these offsets, in order, but for those that are not there.

        Raises `ChannelUnavailable`.
        """
        found: dict[int, Entry] = {}
        wanted = set(offsets)
        seen = -1
        for offset in sorted(wanted):
            if offset <= seen:
                continue
            async with self._at(partition, offset) as reader:
                while await reader.position(partition) <= offset:
                    for record in await _some(reader, partition):
                        entry = _entry(record) if record.offset in wanted else None
                        if entry is not None:
                            found[record.offset] = entry
                seen = await reader.position(partition) - 1
        return [found[offset] for offset in sorted(found)]

    @asynccontextmanager
    async def _at(self, partition: TopicPartition, offset: int) -> AsyncIterator[AIOKafkaConsumer]:
        async with self._turn:
            try:
                async with asyncio.timeout(PATIENCE.total_seconds()):
                    reader = await self._open()
                    reader.assign([partition])
                    reader.seek(partition, offset)
                    yield reader
            except (KafkaError, OSError, TimeoutError) as error:
                await self._close()
                raise ChannelUnavailable(
                    f"{at(self._options)} cannot be read: {said(error)}"
                ) from error
            except UnicodeDecodeError as error:
                # aiokafka reads a batch from its start, so nothing behind this can be had.
                raise ChannelUnavailable(
                    f"{at(self._options)} has a record in {partition.topic}, partition "
                    f"{partition.partition}, from offset {offset} on, with a header whose name is "
                    "not UTF-8: what was stored with it cannot be read"
                ) from error

    async def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = await open_consumer(self._options)
        return self._consumer

    async def _close(self) -> None:
        reader, self._consumer = self._consumer, None
        if reader is not None:
            await close_consumer(reader)


class LogOfTrigger:
    """See `broker.channels.place.Log`."""

    def __init__(self, rereading: Rereading, partition: TopicPartition, trigger: str) -> None:
        self._rereading = rereading
        self._partition = partition
        self._trigger = trigger

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        def is_mine(entry: Entry) -> bool:
            if entry.to is not None:
                return entry.to == self._trigger
            return filter.matches(entry.event.attributes)

        return await self._rereading.read(self._partition, start, end, is_mine)

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        return await self._rereading.fetch(self._partition, positions)


async def _some(reader: AIOKafkaConsumer, partition: TopicPartition) -> Sequence[Read]:
    """Return the next records, if any come in time."""
    got: dict[TopicPartition, list[Any]] = await reader.getmany(
        partition, timeout_ms=_WAIT_MS, max_records=_AT_ONCE
    )
    return got.get(partition, ())


def _entry(record: Read) -> Entry | None:
    """Return the entry, or None for a record that is no event: it was dealt with when swept."""
    try:
        return entry_of(record.offset, record.timestamp, record.headers, record.value)
    except InvalidEvent:
        return None
