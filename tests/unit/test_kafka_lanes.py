"""Which partition a record goes to, and what goes out together."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from broker.channels.kafka.lanes import BATCH_BYTES, Append, Batch, Lane, Topic, size_of
from broker.codecs.kafka import Record
from broker.errors import ChannelUnavailable


def topic(partitions: int) -> Topic:
    found = Topic("events")
    found.learn(partitions, range(partitions))
    return found


def record(size: int = 10, key: bytes | None = None) -> Record:
    return Record(key=key, value=b"x" * size, headers=[("ce_id", b"1")])


def append() -> Append:
    return Append(asyncio.get_running_loop().create_future(), "events", 0.0)


def spread(found: Topic, *records: Record, of: Append | None = None) -> list[Lane]:
    return [*found.spread(of or append(), records, sum(map(size_of, records)))]


def fill(lane: Lane) -> Batch:
    builder = BatchBuilder(BATCH_BYTES, 0)
    parts = lane.fill(builder)
    assert builder.record_count() == sum(len(part.records) for part in parts)
    batch = Batch(parts=parts, producer=None, since=0.0)
    lane.sent = batch
    return batch


@pytest.mark.parametrize(
    ("key", "hashed"),  # as Kafka's own tests have them
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
async def test_a_key_leads_to_the_partition_that_java_chooses(key: bytes, hashed: int) -> None:
    [lane] = spread(topic(12), record(key=key))

    assert lane.partition == (hashed & 0x7FFFFFFF) % 12


async def test_records_without_a_key_stay_at_a_busy_partition_for_one_batch() -> None:
    found = topic(4)
    [first] = spread(found, record(1000))
    fill(first)

    lanes = [spread(found, record(1000))[0] for _ in range(4000)]

    assert set(lanes[:200]) == {first}
    assert max(Counter(lanes).values()) < 2000


async def test_turns_are_close_to_even() -> None:
    found = topic(10)

    for _ in range(1000):
        fill(spread(found, record(1000))[0])
        for lane in found.lanes:
            lane.sent = None

    given = [lane.given for lane in found.lanes]
    assert max(given) - min(given) <= 10 * size_of(record(1000))


async def test_a_partition_without_a_leader_gets_no_turn() -> None:
    found = topic(3)
    found.learn(3, [0, 2])

    partitions = set()
    for _ in range(50):
        [lane] = spread(found, record())
        partitions.add(lane.partition)
        fill(lane)
        lane.sent = None

    assert partitions == {0, 2}


async def test_a_key_leads_to_its_partition_even_if_that_has_no_leader() -> None:
    found = topic(12)
    [led] = spread(found, record(key=b"abc"))

    found.learn(12, [number for number in range(12) if number != led.partition])

    assert spread(found, record(key=b"abc")) == [led]


async def test_a_topic_that_is_gone_keeps_its_partitions_until_it_is_back() -> None:
    found = topic(3)

    found.learn(0, [])

    assert not found.known
    assert len(found.lanes) == 3


async def test_a_topic_that_comes_back_with_fewer_partitions_uses_no_others() -> None:
    found = topic(12)

    found.learn(2, [0, 1])

    assert {spread(found, record(key=b"%d" % key))[0].partition for key in range(50)} == {0, 1}


async def test_calls_that_have_ended_are_left_out_of_a_batch() -> None:
    found = topic(1)
    kept, ended = append(), append()
    spread(found, record(), of=ended)
    [lane] = spread(found, record(), of=kept)
    ended.durable.cancel()

    batch = fill(lane)

    assert [part.append for part in batch.parts] == [kept]
    assert not lane.waiting


async def test_a_batch_takes_whole_parts_up_to_its_limit() -> None:
    found = topic(1)
    [lane] = found.lanes
    for _ in range(3):
        spread(found, *[record(1000)] * 100)

    assert fill(lane).records == 200
    assert fill(lane).records == 100


async def test_a_call_is_durable_once_all_of_its_parts_are() -> None:
    found = topic(1)
    call = append()
    [lane] = spread(found, *[record(200_000)] * 2, of=call)
    first, second = fill(lane), fill(lane)

    [part] = first.parts
    part.append.part_stored()
    assert not call.durable.done()
    [part] = second.parts
    part.append.part_stored()

    assert call.durable.done()


async def test_a_batch_that_is_too_large_is_divided_in_order_until_records_stand_alone() -> None:
    found = topic(1)
    call = append()
    records = [record(1000 + number) for number in range(8)]
    [lane] = spread(found, *records[:6], of=call)
    spread(found, record(5))

    sizes = []
    while (batch := fill(lane)).records > 1:
        sizes.append(batch.records)
        lane.divide(batch)

    assert sizes == [7, 3]
    assert list(batch.parts[0].records) == records[:1]
    parts = [part for part in [*batch.parts, *lane.waiting] if part.append is call]
    assert call.parts == len(parts)


async def test_every_call_gets_an_error_of_its_own() -> None:
    error = ChannelUnavailable("away")
    first, second = append(), append()

    first.fail(error)
    second.fail(error)

    told = [first.durable.exception(), second.durable.exception()]
    assert [str(each) for each in told] == ["away", "away"]
    assert told[0] is not told[1]
