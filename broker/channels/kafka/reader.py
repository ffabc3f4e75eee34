"""Reads on in the partitions that this process holds, each from where it was swept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError

from broker.channels.kafka.compacted import Read, close_consumer, open_consumer
from broker.channels.kafka.connecting import at, said
from broker.channels.kafka.logs import Logs
from broker.channels.kafka.settings import ClientOptions
from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable

_CHUNK: Final = 500  # records, swept in about 10 ms: nothing else runs meanwhile
_POLL: Final = 0.5
_TRIES_EVERY: Final = 0.5
_IDLE_WAIT: Final = timedelta(seconds=_POLL)


class Sweeping(Protocol):
    """What is done with the records of one partition."""

    @property
    def next(self) -> int:
        """From which offset on to read."""
        ...

    async def take(self, records: Sequence[Read], reached: int) -> None:
        """Return once these records are swept, which are all there are up to ``reached``."""
        ...


class Reader:
    """One consumer, of no group, that is opened again after a fault.

    ``delay`` is how long the records of a topic are held back, counted from their timestamps.
    ``wait`` is how long a fetch waits for something new while there are records at hand: a
    partition that was not part of it, as it had records held back, waits as long for its next ones.
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        fetch_bytes: int,
        wait: timedelta = timedelta(seconds=_POLL),
        delay: Callable[[str], timedelta] = lambda _: timedelta(0),
    ) -> None:
        self._options = options
        self._fetch_bytes = fetch_bytes
        self._wait = wait
        self._delay = delay
        self._partitions: Mapping[TopicPartition, Sweeping] = {}
        self._held_back: dict[TopicPartition, Sequence[Read]] = {}
        self._logs = Logs(options)
        self._trouble = Trouble()
        self._changed = asyncio.Event()
        self._polling: asyncio.Task[Any] | None = None

    def assign(self, partitions: Mapping[TopicPartition, Sweeping]) -> None:
        """Read these partitions from now on, and no others."""
        self._partitions = dict(partitions)
        self._changed.set()
        if self._polling is not None:
            self._polling.cancel()

    async def run(self) -> None:
        """Read until cancelled, whatever outages there are."""
        try:
            while True:
                await self._changed.wait()
                try:
                    await self._read_on()
                except (KafkaError, OSError) as error:
                    why = ChannelUnavailable(f"{at(self._options)}: {said(error)}")
                    self._trouble.met("cannot read", why)
                except ChannelUnavailable as error:
                    self._trouble.met("cannot read", error)
                await asyncio.sleep(_TRIES_EVERY)
        finally:
            await self._logs.close()

    async def _read_on(self) -> None:
        consumer = await open_consumer(
            self._options, fetch_bytes=self._fetch_bytes, wait=self._wait
        )
        self._changed.set()
        try:
            while True:
                if self._changed.is_set():
                    self._changed.clear()
                    self._seek(consumer)
                if not self._partitions:
                    await self._changed.wait()
                    continue
                await self._turn(consumer)
        finally:
            self._changed.set()
            await close_consumer(consumer)

    def _seek(self, consumer: AIOKafkaConsumer) -> None:
        """Begin anew where each partition was swept: nothing that was fetched before counts."""
        self._held_back.clear()
        consumer.assign(list(self._partitions))
        for partition, sweeping in self._partitions.items():
            consumer.seek(partition, sweeping.next)

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        for partition, records in list(self._held_back.items()):
            await self._take(partition, records, records[-1].offset)
            if self._changed.is_set():
                return
        held_back = [self._left(at_.topic, rest[0]) for at_, rest in self._held_back.items()]
        open_ = [each for each in self._partitions if each not in self._held_back]
        try:
            found = await self._poll(consumer, open_, min([_POLL, *held_back]))
            self._set_wait(consumer, idle=not (found or held_back))
        except (UnicodeDecodeError, CorruptRecordException):  # which, depends on aiokafka's build
            await self._read_past(open_)
            return
        for partition, records in found.items():
            reached = await consumer.position(partition) - 1
            if self._changed.is_set():
                return
            await self._take(partition, records, reached)
            await asyncio.sleep(0)  # what has been fetched is handed out without any waiting

    def _set_wait(self, consumer: AIOKafkaConsumer, *, idle: bool) -> None:
        """Ask less often while nothing comes: all partitions are part of each fetch then.

        aiokafka takes 2 ms of processor for one of 70 partitions, if all of them are empty.
        """
        wait = _IDLE_WAIT if idle else self._wait
        consumer._fetcher._fetch_max_wait_ms = wait // timedelta(milliseconds=1)

    async def _read_past(self, partitions: Sequence[TopicPartition]) -> None:
        """Read by other means where a header's name is no UTF-8, which aiokafka cannot.

        It does not say where that was, and has lost what stands before it.
        """
        for partition in partitions:
            begins = self._partitions[partition].next
            records, on = await self._logs.read(partition, begins)
            if self._changed.is_set():
                return
            if on > begins:
                await self._take(partition, records, on - 1)
        self._changed.set()  # the consumer has to go on from there

    async def _poll(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], seconds: float
    ) -> Mapping[TopicPartition, Sequence[Read]]:
        """Return the next records, nothing once the assignment has changed."""
        if not partitions:
            await asyncio.sleep(max(0, seconds))
            return {}
        polling = self._polling = asyncio.ensure_future(
            consumer.getmany(
                *partitions, timeout_ms=max(0, round(seconds * 1000)), max_records=_CHUNK
            )
        )
        try:
            await asyncio.wait([polling])
        finally:
            self._polling = None
            polling.cancel()
        return {} if polling.cancelled() else polling.result()

    async def _take(self, partition: TopicPartition, records: Sequence[Read], reached: int) -> None:
        """Sweep what need not be held back any longer."""
        due = 0
        if not self._delay(partition.topic):
            due = len(records)
        while due < len(records) and self._left(partition.topic, records[due]) <= 0:
            due += 1
        if due < len(records):
            self._held_back[partition] = records[due:]
            reached = records[due].offset - 1
        else:
            self._held_back.pop(partition, None)
        if due:
            await self._partitions[partition].take(records[:due], reached)

    def _left(self, topic: str, record: Read) -> float:
        """Return for how many seconds the record is to be held back."""
        return record.timestamp / 1000 + self._delay(topic).total_seconds() - time.time()
