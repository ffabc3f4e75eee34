"""What waits to be sent, partition by partition, and what of it goes out together."""

from __future__ import annotations

import asyncio
import copy
import random
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from broker.codecs.kafka import Record
from broker.errors import CemeshError

BATCH_BYTES: Final = 256 << 10
"""What a batch holds at most, unless a single record is larger."""

TURN_BYTES: Final = BATCH_BYTES
"""What goes to one partition before the next has its turn, while that one is busy."""


_size_in_batch: Final = DefaultRecordBatchBuilder.estimate_size_in_bytes


class Append:
    """One call, until all of its parts are durable or one of them has failed.

    ``since`` is when it was made, by the clock of the event loop.
    """

    __slots__ = ("durable", "parts", "since", "topic")

    def __init__(self, durable: asyncio.Future[None], topic: str, since: float) -> None:
        self.durable = durable
        self.topic = topic
        self.since = since
        self.parts = 0

    def part_stored(self) -> None:
        """Note that one more part is durable."""
        self.parts -= 1
        if not self.parts and not self.durable.done():
            self.durable.set_result(None)

    def fail(self, error: CemeshError) -> None:
        """End the call, unless it has ended or been cancelled."""
        if not self.durable.done():
            # One of its own, as each that is raised gathers a traceback.
            self.durable.set_exception(copy.copy(error))


class Part(NamedTuple):
    """The records of one call that go into one batch. ``size`` is never less than they take."""

    append: Append
    records: Sequence[Record]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What was handed to a producer, at what time by the clock of the event loop."""

    parts: Sequence[Part]
    producer: Any
    since: float

    @property
    def records(self) -> int:
        return sum([len(part.records) for part in self.parts])

    @property
    def size(self) -> int:
        return sum([part.size for part in self.parts])


class Lane:
    """One partition: what waits for it, and the batch that is on its way, if one is."""

    __slots__ = ("given", "partition", "sent", "topic", "waiting")

    def __init__(self, topic: Topic, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[Part] = deque()
        self.sent: Batch | None = None
        self.given = 0  # bytes, in turns

    def fill(self, builder: Any) -> Sequence[Part]:  # noqa: ANN401 - aiokafka has no types
        """Move what waits into the batch, as far as it fits, and return it.

        Calls that have ended meanwhile are left out, so that there may be nothing to send.
        """
        parts: list[Part] = []
        size = 0
        while self.waiting:
            part = self.waiting[0]
            if part.append.durable.done():
                self.waiting.popleft()
                continue
            size += part.size
            if parts and size > self.topic.limit:
                break
            for record in part.records:
                stored = builder.append(
                    timestamp=None, key=record.key, value=record.value, headers=record.headers
                )
                if stored is None:
                    raise RuntimeError("aiokafka takes less into a batch than was counted")
            parts.append(self.waiting.popleft())
        return parts

    def divide(self, batch: Batch) -> None:
        """Let a batch of several records, too large for the topic, wait again in smaller ones."""
        self.topic.limit = min(self.topic.limit, batch.size // 2)
        for part in reversed(batch.parts):
            pieces = list(_cut(part.append, part.records, self.topic.limit))
            part.append.parts += len(pieces) - 1
            self.waiting.extendleft(reversed(pieces))


class Topic:
    """The partitions of a topic, and which of them a record goes to.

    ``limit`` is what a batch may hold, in bytes; it shrinks where the topic takes less.
    ``known`` is whether Kafka has the topic, by what it told last.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit = BATCH_BYTES
        self.known = False
        self.lanes: list[Lane] = []
        self._led: Sequence[Lane] = ()
        self._turn: Lane | None = None
        self._in_turn = 0

    def learn(self, partitions: int, led: Iterable[int]) -> None:
        """Note how many partitions there are, none being no topic, and which have a leader."""
        self.known = partitions > 0
        if not self.known:
            return
        del self.lanes[partitions:]
        for partition in range(len(self.lanes), partitions):
            self.lanes.append(Lane(self, partition))
        led_now = [self.lanes[partition] for partition in led] or self.lanes.copy()
        if led_now != self._led:
            self._led = led_now
            self._turn = None
            for lane in self.lanes:  # one that is back is not to catch up
                lane.given = 0

    def spread(
        self,
        append: Append,
        records: Sequence[Record],
        size: int,
        partition: int | None = None,
    ) -> Collection[Lane]:
        """Let the records, of ``size`` bytes in all, wait; return the lanes in which they do.

        Those are for ``partition``, or for where their keys lead to.
        """
        if partition is not None:
            lane = self.lanes[partition]
            parts = list(_cut(append, records, self.limit))
            append.parts += len(parts)
            lane.waiting.extend(parts)
            return (lane,)
        if len(records) == 1:  # most often, and this takes 1 µs, not 3
            key = records[0].key
            lane = self._keyless(size) if key is None else self._keyed(key)
            lane.waiting.append(Part(append, records, size))
            append.parts = 1
            return (lane,)
        grouped: dict[Lane, list[Record]] = {}
        keyless: Lane | None = None
        for record in records:
            if record.key is None:
                keyless = lane = keyless or self._keyless(size)
            else:
                lane = self._keyed(record.key)
            grouped.setdefault(lane, []).append(record)
        for lane, group in grouped.items():
            parts = list(_cut(append, group, self.limit))
            append.parts += len(parts)
            lane.waiting.extend(parts)
        return grouped.keys()

    def _keyed(self, key: bytes) -> Lane:
        return self.lanes[_hash(key) % len(self.lanes)]

    def _keyless(self, size: int) -> Lane:
        """Return the partition whose turn it is.

        One that nothing is on its way to passes the turn on, so that few records spread evenly.
        While one is busy, what comes gathers there: many small batches cost more than one.
        """
        lane = self._turn
        if lane is None or self._in_turn >= TURN_BYTES or (lane.sent is None and not lane.waiting):
            # Of two at random the one that had less: close to even, without a look at them all.
            lane, other = random.choice(self._led), random.choice(self._led)  # noqa: S311
            if other.given < lane.given:
                lane = other
            self._turn = lane
            self._in_turn = 0
        self._in_turn += size
        lane.given += size
        return lane


def size_of(record: Record) -> int:
    """Return what the record takes in a batch, in bytes, or a little more."""
    size: int = _size_in_batch(record.key, record.value, record.headers)
    return size


def _cut(append: Append, records: Sequence[Record], limit: int) -> Iterable[Part]:
    """Yield the records in parts of up to ``limit`` bytes, or of one record that is larger."""
    part: list[Record] = []
    total = 0
    for record in records:
        size = size_of(record)
        if part and total + size > limit:
            yield Part(append, part, total)
            part, total = [], 0
        part.append(record)
        total += size
    yield Part(append, part, total)


@lru_cache(maxsize=4096)
def _hash(key: bytes) -> int:
    """Return the hash that Java's producers take. Kept, as it costs 0.4 µs for each byte."""
    return int(murmur2(key)) & 0x7FFFFFFF
