"""Compacted topics of one partition: their configuration, and following them.

A broker keeps in them what is not a log: `state` and `deadletters`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.channels.kafka.connecting import at, said, start
from broker.channels.kafka.settings import ClientOptions
from broker.channels.trouble import Trouble
from broker.codecs.kafka import Headers, Record
from broker.errors import ChannelUnavailable

Append = Callable[[str, Sequence[Record]], Awaitable[None]]
"""`Producing.append`, to any partition.

Return once the records are durable in the topic, in this order and in that of calls.

Raises `ChannelUnavailable` or `ChannelFull`; some of the records may be stored all the same.
"""

PATIENCE: Final = timedelta(seconds=5)
"""How long Kafka may take to say what is in a topic."""

_PAUSE: Final = timedelta(seconds=0.5)
_STOPS_WITHIN: Final = 0.25
_FETCH_BYTES: Final = 4 << 20
_CHUNK: Final = 500  # records, taken in about 5 ms: nothing else runs meanwhile
_LARGEST_MESSAGE: Final = 1_048_588  # Kafka's default
_ADDED_BYTES: Final = 64 << 10


class Read(Protocol):
    """A record as aiokafka hands it out. ``timestamp`` is in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def configuration(
    of_events: Mapping[str, str], *, segment_bytes: int, segment_age: timedelta
) -> Mapping[str, str]:
    """Return the configuration of a compacted topic, beside a topic of events that has another.

    Segments are what compaction works by: the newest is left alone, so all that was written to
    it is read again by whoever starts. A record is never refused for its size here that was
    taken there, whatever was added to it.
    """
    told = of_events.get("max.message.bytes", "")
    largest = int(told) if told.isascii() and told.isdigit() else _LARGEST_MESSAGE
    kept = {name: of_events[name] for name in ("min.insync.replicas",) if name in of_events}
    return {
        "cleanup.policy": "compact",
        "segment.bytes": str(max(segment_bytes, 2 * largest)),
        "segment.ms": str(segment_age // timedelta(milliseconds=1)),
        "min.cleanable.dirty.ratio": "0.2",
        "max.message.bytes": str(largest + _ADDED_BYTES),
        **kept,
    }


async def open_consumer(options: ClientOptions) -> AIOKafkaConsumer:
    """Return a consumer of no group that has started."""
    consumer = AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=PATIENCE // timedelta(milliseconds=1),
        fetch_max_wait_ms=_PAUSE // timedelta(milliseconds=1),
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    try:
        await start(consumer)
    except BaseException:
        await close_consumer(consumer)
        raise
    return consumer


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close the consumer, whatever it is doing.

    Of two of its own cancellations aiokafka loses sight. That of its fetching, where it comes just
    as it lets go of partitions: then it would wait for ever. And that of a fetch which has just
    failed: it raises that as if its caller had been cancelled, with the connections still open.
    """
    stopping = asyncio.create_task(consumer.stop())
    try:
        while not (await asyncio.wait([stopping], timeout=_STOPS_WITHIN))[0]:
            if consumer._fetcher is not None:
                consumer._fetcher._fetch_task.cancel()
    except asyncio.CancelledError:
        stopping.cancel()
        await asyncio.wait([stopping])
        await consumer._client.close()
        raise
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()


def unavailable(topic: str, options: ClientOptions, error: BaseException) -> ChannelUnavailable:
    """Return that the topic cannot be read now, and why."""
    return ChannelUnavailable(f"the topic {topic} of {at(options)} cannot be read: {said(error)}")


def unreadable(
    partition: TopicPartition, offset: int, options: ClientOptions, error: BaseException
) -> ChannelUnavailable:
    """Return that there is a batch that cannot be taken apart, and why."""
    return ChannelUnavailable(
        f"{at(options)} has a batch of records in the topic {partition.topic}, partition "
        f"{partition.partition}, at offset {offset}, that cannot be read, and nothing behind it "
        f"is read before it can be, or is removed: {said(error)}"
    )


class Following:
    """A compacted topic: read to its end, and followed from there, whatever outages there are.

    ``take`` is called with each record; ``at_end`` whenever all is read that Kafka has told of.
    """

    def __init__(
        self,
        topic: str,
        options: ClientOptions,
        *,
        take: Callable[[Read], None],
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._options = options
        self._partition = TopicPartition(topic, 0)
        self._take = take
        self._at_end = at_end
        self._reader: AIOKafkaConsumer | None = None
        # A connection of its own: on the other one all waits behind a fetch, which waits for news.
        self._asker: AIOKafkaConsumer | None = None
        self._asking = asyncio.Lock()
        self._position = 0
        self._trouble = Trouble()
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read all that is in the topic now; what was read before a failure is not read again."""
        end = await self._end()
        try:
            while self._position < end:
                await self._read(self._reader or await self._open())
        except KafkaError as error:
            await self._close()
            raise self._unavailable(error) from error

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Follow the topic from where `load` has come to."""
        self._task = tasks.create_task(self._follow())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._close()
        asker, self._asker = self._asker, None
        if asker is not None:
            await close_consumer(asker)

    async def caught_up(self) -> None:
        """Return once all is read that is in the topic now; raises `ChannelUnavailable`."""
        end = await self._end()
        async with self._news:
            await self._news.wait_for(lambda: self._position >= end)

    async def is_at_end(self) -> bool:
        """Return whether all is read that is in the topic now; raises `ChannelUnavailable`."""
        return await self._end() <= self._position

    async def _end(self) -> int:
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                async with self._asking:
                    self._asker = self._asker or await open_consumer(self._options)
                ends = await self._asker.end_offsets([self._partition])
        except (KafkaError, TimeoutError) as error:
            raise self._unavailable(error) from error
        end: int = ends[self._partition]
        return end

    async def _follow(self) -> None:
        while True:
            try:
                reader = self._reader or await self._open()
                while True:
                    await self._read(reader)
                    told = reader.highwater(self._partition) or 0
                    if self._at_end is not None and self._position >= told:
                        await self._at_end()
            except KafkaError as error:
                self._trouble.met("cannot follow", self._unavailable(error))
                await self._close()
                await asyncio.sleep(_PAUSE.total_seconds())

    async def _read(self, reader: AIOKafkaConsumer) -> None:
        """Take the next records; those that only bear an offset are passed over."""
        found = await reader.getmany(
            timeout_ms=_PAUSE // timedelta(milliseconds=1), max_records=_CHUNK
        )
        for record in found.get(self._partition, ()):
            self._take(record)
        self._position = await reader.position(self._partition)
        async with self._news:
            self._news.notify_all()
        await asyncio.sleep(0)  # what has been fetched is handed out without waiting for anything

    async def _open(self) -> AIOKafkaConsumer:
        reader = self._reader = await open_consumer(self._options)
        reader.assign([self._partition])
        if self._position:
            reader.seek(self._partition, self._position)
        return reader

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await close_consumer(reader)

    def _unavailable(self, error: BaseException) -> ChannelUnavailable:
        return unavailable(self._partition.topic, self._options, error)
