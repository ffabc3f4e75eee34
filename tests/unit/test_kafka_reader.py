"""Partitions that come and go while the reader waits for what it has asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import cast

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from broker.channels.kafka.compacted import Read
from broker.channels.kafka.fetches import Fetches
from broker.channels.kafka.reader import Reader, Sweeping
from broker.channels.kafka.sessions import Fetched
from broker.channels.kafka.settings import from_url, settings

SOON = 30.0

PARTITION = TopicPartition("orders", 3)


class Partition:
    """Notes the offsets that it is given."""

    def __init__(self, next: int) -> None:
        self.next = next
        self.taken: list[int] = []

    async def take(self, records: Sequence[Read], reached: int) -> None:
        self.taken += [each.offset for each in records]
        self.next = reached + 1


class Answering:
    """Stands for the fetches: has an answer at once; ``meanwhile`` happens before that is seen."""

    def __init__(self, answer: Fetched, told: Callable[[], None]) -> None:
        self._answer = answer
        self._told = told
        self._is_under_way = False
        self.meanwhile: Callable[[], None] = lambda: None

    def of(self, partitions: Mapping[TopicPartition, object]) -> None:
        pass

    def ask(self, wanted: Mapping[TopicPartition, int], wait: timedelta) -> None:
        if not self._is_under_way:
            self._is_under_way = True
            self.meanwhile()
            self._told()

    def take(self) -> Mapping[TopicPartition, Fetched]:
        self._is_under_way = False
        return {PARTITION: self._answer}


def batch(*offsets: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 16,
    )
    for each in offsets:
        builder.append(each, timestamp=1_700_000_000_000, key=None, value=b"x", headers=[])
    return bytes(builder.build())


def reading(partitions: Mapping[TopicPartition, Sweeping]) -> tuple[Reader, Answering]:
    """Return a reader that has begun with these, and three records to come."""
    defaults = from_url("kafka://127.0.0.1:9")
    options = settings("default/default", {}, {}, defaults=defaults).client_options()
    reader = Reader(options, fetch_bytes=1 << 20)
    answer = Fetched(asked=0, begins=0, batches=batch(0, 1, 2))
    fetches = Answering(answer, reader._news.set)
    reader.assign(partitions)
    reader._begin(cast("Fetches", fetches))
    return reader, fetches


async def test_what_was_fetched_is_handed_out() -> None:
    partition = Partition(0)
    reader, fetches = reading({PARTITION: partition})

    await reader._turn(cast("Fetches", fetches))

    assert partition.taken == [0, 1, 2]


@pytest.mark.parametrize("comes_back", [False, True])
async def test_what_was_fetched_before_the_assignment_changed_is_handed_to_nobody(
    *, comes_back: bool
) -> None:
    former, latter = Partition(0), Partition(0)
    reader, fetches = reading({PARTITION: former})
    fetches.meanwhile = lambda: reader.assign({PARTITION: latter} if comes_back else {})

    await reader._turn(cast("Fetches", fetches))
    assert former.taken == latter.taken == []

    reader._begin(cast("Fetches", fetches))
    async with asyncio.timeout(SOON):
        await reader._turn(cast("Fetches", fetches))
    assert former.taken == []
    assert latter.taken == ([0, 1, 2] if comes_back else [])
