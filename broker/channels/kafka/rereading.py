"""Reads partitions again: what a trigger is behind with, and what was open before a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Self

from aiokafka import TopicPartition

from broker.channels.backlog import BUFFER_EVENTS
from broker.channels.kafka.compacted import Read
from broker.channels.kafka.delays import goes_on
from broker.channels.kafka.entries import Entry, entry_of
from broker.channels.kafka.logs import Logs
from broker.channels.kafka.settings import ClientOptions
from broker.channels.trouble import Trouble
from broker.errors import InvalidEvent
from broker.filters import Filter

_CHUNK_RECORDS: Final = 1_000
_CHUNK_BYTES: Final = 2 << 20


class Rereading:
    """Goes to whatever is asked for; it connects when that is first so, and again after a fault."""

    def __init__(self, options: ClientOptions, trouble: Trouble) -> None:
        self.trouble = trouble
        self._logs = Logs(options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._logs.close()

    async def read(
        self, partition: TopicPartition, start: int, end: int, wanted: Callable[[Entry], bool]
    ) -> tuple[Sequence[Entry], int]:
        """Return entries in (start, end] that are wanted, and up to where they reach.

        What is no event is left out, and so is what is not there any more. Raises
        `ChannelUnavailable`.
        """
        found: list[Entry] = []
        size = taken = 0
        offset = start + 1
        while offset <= end:
            records, offset = await self._logs.read_written(partition, offset)
            for record in records:
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
        records = await self._logs.records_at(partition, sorted(offsets))
        return [entry for entry in map(_entry, records) if entry is not None]


class LogOfTrigger:
    """See `broker.channels.place.Log`. ``step`` is for how long the topic delays, if it does."""

    def __init__(
        self,
        rereading: Rereading,
        partition: TopicPartition,
        trigger: str,
        *,
        step: timedelta | None = None,
    ) -> None:
        self._rereading = rereading
        self._partition = partition
        self._trigger = trigger
        self._step = step

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        def is_mine(entry: Entry) -> bool:
            if self._step is not None:
                return entry.to == self._trigger and not goes_on(entry, self._step)
            if entry.to is not None:
                return entry.to == self._trigger
            return filter.matches(entry.event.attributes)

        with self._rereading.trouble.told("cannot read", trigger=self._trigger):
            return await self._rereading.read(self._partition, start, end, is_mine)

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        with self._rereading.trouble.told("cannot read", trigger=self._trigger):
            return await self._rereading.fetch(self._partition, positions)


def _entry(record: Read) -> Entry | None:
    """Return the entry, or None for a record that is no event: it was dealt with when swept."""
    try:
        return entry_of(record.offset, record.timestamp, record.headers, record.value)
    except InvalidEvent:
        return None
