"""Partitions as they are, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition, codec
from aiokafka.admin import AIOKafkaAdminClient

from broker.channels.kafka.compacted import Read
from broker.channels.kafka.logs import Logs
from broker.channels.kafka.topics import ensure_topic
from broker.errors import ChannelUnavailable
from tests.contract.batches import NOT_UTF8, event, misnamed, new_topic, options, remove, write
from tests.services.relay import Relay

SOON = 30.0

COMPRESSIONS = [
    name
    for name in ("none", "gzip", "snappy", "lz4", "zstd")
    if name == "none" or getattr(codec, f"has_{name}")()
]


@pytest.fixture
async def logs(kafka: str) -> AsyncIterator[Logs]:
    opened = Logs(options(kafka))
    yield opened
    await opened.close()


@pytest.fixture
async def relayed(kafka_relay: Relay) -> AsyncIterator[Logs]:
    opened = Logs(options(kafka_relay.address))
    yield opened
    await opened.close()


def offsets(records: Sequence[Read]) -> Sequence[int]:
    return [record.offset for record in records]


# --- whatever stands there --------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_a_header_whose_name_is_not_utf8_hides_no_record_of_its_batch(
    kafka: str, logs: Logs, compression: str
) -> None:
    body = b"x" * 1000
    batch = [event(0, data=body), misnamed(body), event(2, data=body)]
    partition = await new_topic(kafka, batch, [event(3)], compression=compression)

    records, on = await logs.read(partition, 0)

    assert [(each.topic, each.partition) for each in records] == [partition] * 4
    assert [(each.offset, each.value) for each in records[:3]] == [(n, body) for n in range(3)]
    assert records[1].headers == ((NOT_UTF8, b"1"),)
    assert dict(records[2].headers)["ce_id"] == b"2"
    assert on == 4


async def test_a_batch_is_read_whole_however_large_it_is(kafka: str, logs: Logs) -> None:
    large = [misnamed(b"x" * 400_000), event(1, data=b"y" * 400_000)]
    partition = await new_topic(kafka, [event(0)], large, [event(3)])

    found: list[Read] = []
    on = 0
    while on < 4:
        records, on = await logs.read(partition, on)
        found += records

    assert offsets(found) == [0, 1, 2, 3]
    assert [len(each.value or b"") for each in found] == [1, 400_000, 400_000, 1]


async def test_what_ends_a_transaction_is_passed_over(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=str(uuid4())) as producer:
        for number in range(2):
            async with producer.transaction():
                await producer.send_and_wait(partition.topic, b"%d" % number)

    records, on = await logs.read(partition, 0)
    assert [(each.offset, each.value) for each in records] == [(0, b"0"), (2, b"1")]
    assert on == 4
    assert await logs.read(partition, 3) == ([], 4)


async def test_many_records_come_in_handfuls_that_miss_nothing(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka, *([event(n + k) for k in range(700)] for n in range(4)))
    found: list[int] = []
    on = 5

    while on < 2_800:
        records, on = await logs.read(partition, on)
        assert len(records) <= 500
        found += offsets(records)

    assert found == list(range(5, 2_800))


async def test_two_who_read_at_different_places_each_read_on_at_their_own(
    kafka: str, logs: Logs
) -> None:
    partition = await new_topic(kafka, [event(n) for n in range(2_000)])

    async def all_from(on: int) -> list[int]:
        found: list[int] = []
        while on < 2_000:
            records, on = await logs.read(partition, on)
            found += offsets(records)
        return found

    found = await asyncio.gather(*(all_from(start) for start in (0, 0, 7, 1_500)))

    assert found == [list(range(start, 2_000)) for start in (0, 0, 7, 1_500)]


async def test_others_have_their_turn_between_handfuls(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka, [event(n) for n in range(1_500)])
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as tasks:
        _, on = await logs.read(partition, 0)
        other = tasks.create_task(take_turns())
        while not turns:
            await asyncio.sleep(0)
        for _ in range(2):
            before = turns
            _, on = await logs.read(partition, on)
            assert turns > before
        other.cancel()


async def test_a_batch_that_cannot_be_decompressed_is_told_and_not_passed_over(
    kafka: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = [event(n, data=b"x" * 1000) for n in (1, 2)]
    partition = await new_topic(kafka, large, compression="gzip")
    await write(kafka, partition, [event(3)])
    monkeypatch.setattr(codec, "has_gzip", lambda: False)

    for _ in range(2):
        with pytest.raises(ChannelUnavailable, match=r"at offset 0, that cannot be read.*gzip"):
            await logs.read(partition, 0)
    assert offsets((await logs.read(partition, 2))[0]) == [2]


# --- where nothing is ---------------------------------------------------------------------------


async def test_where_nothing_is_yet_is_where_to_read_on(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka, [event(0)])

    assert await logs.read(partition, 1) == ([], 1)


async def test_what_may_come_is_waited_for(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka, [event(0)])
    time = asyncio.get_running_loop().time

    began = time()
    assert await logs.read(partition, 1, wait=timedelta(seconds=0.5)) == ([], 1)
    assert time() - began > 0.4

    waiting = asyncio.create_task(logs.read(partition, 1, wait=timedelta(seconds=3)))
    await write(kafka, partition, [event(1)])
    records, on = await waiting
    if not records:  # it was written later than that
        records, on = await logs.read(partition, 1)
    assert (offsets(records), on) == ([1], 2)


async def test_what_was_removed_is_passed_over(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka, [event(n) for n in range(10)])
    await remove(kafka, partition, 6)

    assert await logs.read(partition, 2) == ([], 6)
    assert offsets((await logs.read(partition, 6))[0]) == [6, 7, 8, 9]
    assert offsets(await logs.records_at(partition, [2, 5, 7, 9])) == [7, 9]


async def test_a_log_that_ends_before_the_offset_says_where(
    kafka: str, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    partition = await new_topic(kafka, [event(n) for n in range(3)])

    assert await logs.read(partition, 5) == ([], 3)
    assert await logs.records_at(partition, [1, 5, 7]) == (await logs.read(partition, 1))[0][:1]
    assert [record.getMessage() for record in caplog.records] == [
        "events are gone: their log ends before them"
    ]


async def test_what_was_written_and_is_not_shown_is_not_taken_for_gone(
    kafka: str, logs: Logs
) -> None:
    partition = await new_topic(kafka, [event(0)])

    with pytest.raises(ChannelUnavailable, match=r"does not show what was written .* at offset 1"):
        await logs.records_at(partition, [0, 1])


# --- outages ------------------------------------------------------------------------------------


async def test_an_outage_is_told_and_over_when_kafka_is_back(
    kafka: str, kafka_relay: Relay, relayed: Logs
) -> None:
    partition = await new_topic(kafka, [event(0)])
    with kafka_relay.cut(), pytest.raises(ChannelUnavailable, match="refused"):
        await relayed.read(partition, 0)
    assert offsets((await relayed.read(partition, 0))[0]) == [0]

    with kafka_relay.cut(), pytest.raises(ChannelUnavailable, match="refused"):
        await relayed.read(partition, 0)
    assert offsets((await relayed.read(partition, 0))[0]) == [0]


async def test_connections_that_were_lost_meanwhile_are_opened_again_unnoticed(
    kafka: str, kafka_relay: Relay, relayed: Logs
) -> None:
    partition = await new_topic(kafka, [event(0)])
    await relayed.read(partition, 0)

    with kafka_relay.cut():
        pass

    assert offsets((await relayed.read(partition, 0))[0]) == [0]


async def test_a_kafka_that_does_not_answer_is_waited_for_a_while(
    kafka: str, kafka_relay: Relay, relayed: Logs
) -> None:
    partition = await new_topic(kafka, [event(0)])
    await relayed.read(partition, 0)

    with (
        kafka_relay.hung(),
        pytest.raises(ChannelUnavailable, match=r"no answer in time|TIMED_OUT"),
    ):
        await relayed.read(partition, 0)

    assert offsets((await relayed.read(partition, 0))[0]) == [0]


async def test_one_who_gives_up_waiting_leaves_others_able_to_read(
    kafka: str, kafka_relay: Relay, relayed: Logs
) -> None:
    partition = await new_topic(kafka, [event(0)])
    with kafka_relay.hung(), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await relayed.read(partition, 0)

    assert offsets((await relayed.read(partition, 0))[0]) == [0]


async def test_a_topic_that_is_missing_is_told_and_holds_up_no_other(
    kafka: str, logs: Logs
) -> None:
    partition = await new_topic(kafka, [event(0)])
    missing = asyncio.create_task(logs.read(TopicPartition(f"missing-{uuid4()}", 0), 0))
    reading = asyncio.create_task(logs.read(partition, 0))

    first, _ = await asyncio.wait([missing, reading], return_when=asyncio.FIRST_COMPLETED)

    assert first == {reading}
    with pytest.raises(ChannelUnavailable, match="UNKNOWN_TOPIC_OR_PART"):
        await missing


async def test_a_topic_that_is_made_anew_is_read_anew(kafka: str, logs: Logs) -> None:
    partition = await new_topic(kafka, [event(n) for n in range(10)])
    await logs.read(partition, 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([partition.topic])
    await admin.close()
    await again(kafka, partition.topic)
    await write(kafka, partition, [misnamed()])

    assert await logs.read(partition, 10) == ([], 1)
    assert offsets((await logs.read(partition, 0))[0]) == [0]


async def again(address: str, topic: str) -> None:
    async with asyncio.timeout(SOON):
        while True:
            try:
                await ensure_topic(
                    options(address), topic, partitions=1, replication_factor=1, config={}
                )
            except ChannelUnavailable:  # the former one is being deleted
                continue
            return
