"""What producing promises, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.producer.message_accumulator import BatchBuilder

from broker.channels.kafka import producing
from broker.channels.kafka.producing import Producing
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import Record
from broker.errors import ChannelFull, ChannelUnavailable, TooLarge
from tests.contract.kafka import SOON, TOLD_WITHIN
from tests.services.kafka.server import KafkaServer


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


async def new_topic(address: str, partitions: int = 1, **config: str) -> str:
    topic = f"producing-{uuid4()}"
    named = {key.replace("_", "."): value for key, value in config.items()}
    await ensure_topic(
        options(address), topic, partitions=partitions, replication_factor=1, config=named
    )
    return topic


def record(value: bytes | str, key: bytes | None = None) -> Record:
    data = value.encode() if isinstance(value, str) else value
    return Record(key=key, value=data, headers=[("ce_id", b"1")])


async def stored(address: str, topic: str) -> list[list[str]]:
    """Return the values in each partition, in order."""
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=address, auto_offset_reset="earliest"
    ) as consumer:
        partitions = sorted(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[str]] = {each: [] for each in partitions}
        async with asyncio.timeout(SOON):
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                    found[partition] += [str(each.value, "latin-1") for each in records]
    return list(found.values())


async def append_until_stored(producing: Producing, topic: str, value: str) -> None:
    async with asyncio.timeout(SOON):
        while True:
            try:
                await producing.append(topic, [record(value)])
            except ChannelUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def append_until_refused(producing: Producing, topic: str) -> None:
    async with asyncio.timeout(SOON):
        while True:
            async with asyncio.timeout(TOLD_WITHIN):
                await producing.append(topic, [record("x")])


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list to which the number of records is added of every batch that is sent."""
    sent: list[int] = []
    send_batch = AIOKafkaProducer.send_batch

    async def send(
        self: AIOKafkaProducer, batch: BatchBuilder, *args: object, **kwargs: object
    ) -> object:
        sent.append(batch.record_count())
        return await send_batch(self, batch, *args, **kwargs)

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", send)
    return sent


# --- batches and partitions ------------------------------------------------------------------


async def test_what_comes_soon_after_a_request_goes_out_together(
    kafka: str, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "_APART", 3.0)  # longer than the steps below take
    topic = await new_topic(kafka)
    async with Producing(options(kafka)) as opened:
        await opened.append(topic, [record("first")])
        others = []
        for _ in range(3):
            others.append(opened.submit(topic, [record("x")]))
            await asyncio.sleep(0.02)  # in which the first of them would be on its way
        await asyncio.gather(*others)

    assert batches == [1, 3]


async def test_appends_that_come_while_one_is_on_its_way_share_a_batch(
    kafka: str, batches: list[int]
) -> None:
    topic = await new_topic(kafka, partitions=12)
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record("first")])

        await asyncio.gather(*(producing.append(topic, [record("x")]) for _ in range(500)))

    assert sum(batches) == 501
    assert len(batches) <= 20


async def test_what_is_submitted_is_durable_once_its_future_is_done(kafka: str) -> None:
    topic = await new_topic(kafka)
    async with Producing(options(kafka)) as producing:
        first = producing.submit(topic, [record("first")])  # while the topic is not known yet
        nothing = producing.submit(topic, [])
        await first
        others = [producing.submit(topic, [record(str(number))]) for number in range(3)]
        done_at_once = [each.done() for each in (nothing, *others)]
        await asyncio.gather(nothing, *others)

        assert done_at_once == [True, False, False, False]
        assert await stored(kafka, topic) == [["first", "0", "1", "2"]]


async def test_what_one_append_sends_to_a_partition_is_one_batch(
    kafka: str, batches: list[int]
) -> None:
    topic = await new_topic(kafka, partitions=3)
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record("x" * 1000) for _ in range(200)])

    assert batches == [200]


async def test_an_append_larger_than_a_batch_is_stored_in_several(
    kafka: str, batches: list[int]
) -> None:
    topic = await new_topic(kafka)
    values = [f"{number:05}" + "x" * 100_000 for number in range(12)]
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record(value) for value in values])

    assert sum(batches) == 12
    assert max(batches) == 2
    assert await stored(kafka, topic) == [values]


async def test_records_with_one_key_stay_in_the_order_of_their_appends(kafka: str) -> None:
    topic = await new_topic(kafka, partitions=4)
    values = [str(number) for number in range(2000)]
    async with Producing(options(kafka)) as producing:
        await asyncio.gather(
            *(producing.append(topic, [record(value, key=b"k")]) for value in values)
        )

    assert sorted(await stored(kafka, topic), key=len) == [[], [], [], values]


async def test_what_comes_while_a_batch_is_on_its_way_follows_it(
    kafka: str, batches: list[int]
) -> None:
    topic = await new_topic(kafka)
    values = [str(number) for number in range(300)]
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record("first")])
        async with asyncio.TaskGroup() as appends:
            for value in values:
                appends.create_task(producing.append(topic, [record(value)]))
                await asyncio.sleep(0)

    assert await stored(kafka, topic) == [["first", *values]]
    assert len(batches) > 2


async def test_appends_without_keys_take_turns_among_the_partitions(kafka: str) -> None:
    topic = await new_topic(kafka, partitions=3)
    async with Producing(options(kafka)) as producing:
        for number in range(60):
            await producing.append(topic, [record(f"{number}a"), record(f"{number}b")])

    found = await stored(kafka, topic)
    assert all(28 <= len(values) <= 52 for values in found)
    assert all(
        {value[:-1] for value in values[::2]} == {value[:-1] for value in values[1::2]}
        for values in found
    )


async def test_many_concurrent_appends_without_keys_use_every_partition(kafka: str) -> None:
    topic = await new_topic(kafka, partitions=4)

    async def append(producing: Producing) -> None:
        for _ in range(60):
            await producing.append(topic, [record(b"x" * 1024)])

    async with Producing(options(kafka)) as producing:
        await asyncio.gather(*(append(producing) for _ in range(64)))

    counts = [len(values) for values in await stored(kafka, topic)]
    assert sum(counts) == 3840
    assert min(counts) >= 480


async def test_nothing_to_append_is_done_at_once(kafka: str) -> None:
    async with Producing(options(kafka)) as producing:
        await producing.append("there-is-no-such-topic", [])


# --- what cannot be stored -------------------------------------------------------------------


async def test_a_record_larger_than_the_topic_takes_is_too_large_and_harms_no_other(
    kafka: str,
) -> None:
    topic = await new_topic(kafka)
    async with Producing(options(kafka)) as producing:
        ended = await asyncio.gather(
            *(producing.append(topic, [record(f"before {number}")]) for number in range(10)),
            producing.append(topic, [record(b"x" * (2 << 20))]),
            *(producing.append(topic, [record(f"after {number}")]) for number in range(10)),
            return_exceptions=True,
        )
        await producing.append(topic, [record("later")])

    [refusal] = [each for each in ended if each is not None]
    assert isinstance(refusal, TooLarge)
    assert f"more than the topic '{topic}' takes" in str(refusal)
    [values] = await stored(kafka, topic)
    assert values == [f"{when} {n}" for when in ("before", "after") for n in range(10)] + ["later"]


async def test_a_topic_that_takes_less_than_a_batch_gets_smaller_ones(kafka: str) -> None:
    topic = await new_topic(kafka, max_message_bytes="20000")
    values = [f"{number:03}" + "x" * 1000 for number in range(100)]
    async with Producing(options(kafka)) as producing:
        await asyncio.gather(
            producing.append(topic, [record(value) for value in values[:50]]),
            *(producing.append(topic, [record(value)]) for value in values[50:]),
        )

    assert await stored(kafka, topic) == [values]


async def test_a_topic_that_is_not_there_is_named(kafka: str) -> None:
    async with Producing(options(kafka)) as producing:
        with pytest.raises(ChannelUnavailable, match="has no topic 'nowhere'") as caught:
            async with asyncio.timeout(TOLD_WITHIN):
                await producing.append("nowhere", [record("x")])

    assert kafka in str(caught.value)


async def test_a_topic_that_is_deleted_and_created_again_takes_events_again(kafka: str) -> None:
    topic = await new_topic(kafka)
    other = await new_topic(kafka)
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record("lost")])
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_topics([topic])
        await admin.close()

        with pytest.raises(ChannelUnavailable):
            await append_until_refused(producing, topic)
        await producing.append(other, [record("x")])
        await ensure_topic(options(kafka), topic, partitions=2, replication_factor=1, config={})
        await append_until_stored(producing, topic, "kept")

    assert "kept" in [*chain(*await stored(kafka, topic))]


# --- outages ---------------------------------------------------------------------------------


async def test_what_was_acknowledged_is_there_after_the_server_is_killed(
    kafka_server: KafkaServer,
) -> None:
    with kafka_server:
        topic = await new_topic(kafka_server.address, partitions=3)
        async with Producing(options(kafka_server.address)) as producing:
            await asyncio.gather(*(producing.append(topic, [record(str(n))]) for n in range(300)))
            kafka_server.kill()
        await asyncio.to_thread(kafka_server.start)

        values = [*chain(*await stored(kafka_server.address, topic))]

    assert sorted(values, key=int) == [str(n) for n in range(300)]


async def test_an_outage_is_told_then_at_once_and_is_over_by_itself(
    kafka_server: KafkaServer,
) -> None:
    with kafka_server:
        topic = await new_topic(kafka_server.address, partitions=3)
        async with Producing(options(kafka_server.address)) as producing:
            await producing.append(topic, [record("before")])
            kafka_server.kill()

            async with asyncio.timeout(TOLD_WITHIN):
                ended = await asyncio.gather(
                    *(producing.append(topic, [record("x")]) for _ in range(1000)),
                    return_exceptions=True,
                )
            with pytest.raises(ChannelUnavailable):
                _ = producing.submit(topic, [record("x")])  # and nothing is awaited
            await asyncio.to_thread(kafka_server.start)
            await append_until_stored(producing, topic, "after")

            assert {type(each) for each in ended} == {ChannelUnavailable}
            assert (
                str(ended[0])
                == f"Kafka at {kafka_server.address} cannot be used: Connection refused"
            )
            producing.check()


async def test_what_an_outage_refuses_is_not_sent_any_more(kafka_server: KafkaServer) -> None:
    with kafka_server:
        topic = await new_topic(kafka_server.address)
        async with Producing(options(kafka_server.address)) as producing:
            await producing.append(topic, [record("before")])
            producer = producing._producers.current
            kafka_server.kill()

            with pytest.raises(ChannelUnavailable):
                await producing.append(topic, [record("refused")])

            assert producer._sender.sender_task.done()


async def test_a_full_buffer_refuses_more_and_takes_more_once_it_is_empty(
    kafka_server: KafkaServer,
) -> None:
    with kafka_server:
        topic = await new_topic(kafka_server.address)
        async with Producing(options(kafka_server.address)) as producing:
            await producing.append(topic, [record("before")])
            kafka_server.kill()
            pending = [
                asyncio.create_task(producing.append(topic, [record(b"x" * 900_000)]))
                for _ in range(74)
            ]
            await asyncio.sleep(0)

            with pytest.raises(ChannelFull, match="are waiting to be stored in Kafka at"):
                await producing.append(topic, [record(b"x" * 900_000)])
            await asyncio.wait(pending)
            await asyncio.to_thread(kafka_server.start)
            await append_until_stored(producing, topic, "after")

            large = [producing.append(topic, [record(b"x" * 900_000)]) for _ in range(10)]
            await asyncio.gather(*large)

            assert all(isinstance(task.exception(), ChannelUnavailable) for task in pending)


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_amid_appends(
    kafka_server: KafkaServer,
) -> None:
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def append(producing: Producing, topic: str, worker: int) -> None:
        number = 0
        while not enough.is_set():
            value = f"{worker}/{number}"
            key = None if worker % 2 else b"%d" % worker
            try:
                await producing.append(topic, [record(value, key)])
            except ChannelUnavailable:
                await asyncio.sleep(0.01)
            else:
                acknowledged.append(value)
                number += 1

    with kafka_server:
        topic = await new_topic(kafka_server.address, partitions=3)
        async with (
            Producing(options(kafka_server.address)) as producing,
            asyncio.TaskGroup() as workers,
        ):
            for worker in range(20):
                workers.create_task(append(producing, topic, worker))
            await more(acknowledged, 200)
            await asyncio.to_thread(kafka_server.kill)
            await asyncio.to_thread(kafka_server.start)
            await more(acknowledged, 200)
            enough.set()
        found = await stored(kafka_server.address, topic)

    counts = Counter(chain(*found))
    assert set(acknowledged) <= set(counts)
    assert set(counts.values()) <= {1, 2, 3}
    for worker in range(0, 20, 2):
        mine = [v for values in found for v in values if v.startswith(f"{worker}/")]
        firsts = list(dict.fromkeys(mine))
        assert firsts == sorted(firsts, key=lambda value: int(value.split("/")[1]))


async def more(growing: Sequence[object], count: int) -> None:
    wanted = len(growing) + count
    async with asyncio.timeout(SOON):
        while len(growing) < wanted:
            await asyncio.sleep(0.01)


def test_whatever_is_given_up_is_given_up_within_5_s() -> None:
    looked = producing._LOOKS_EVERY
    probed = producing._PROBED_WITHIN.total_seconds()

    assert producing._GIVEN_UP_AFTER + looked < 5
    assert producing._DOUBTED_AFTER + looked + probed < 5


async def test_a_server_that_never_answers_is_told_of() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(TOLD_WITHIN):
            async with Producing(options(f"127.0.0.1:{port}")) as producing:
                with pytest.raises(ChannelUnavailable, match="no answer in time"):
                    await producing.append("any", [record("x")])


# --- cancelling ------------------------------------------------------------------------------


async def test_what_is_submitted_and_cancelled_makes_room_for_others(kafka: str) -> None:
    topic = await new_topic(kafka)
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record("first")])
        large = [record(b"x" * 900_000)]
        submitted = [producing.submit(topic, large) for _ in range(74)]
        with pytest.raises(ChannelFull):
            await producing.submit(topic, large)
        for each in submitted:
            each.cancel()
        await asyncio.wait(submitted)

        await producing.submit(topic, large)

    assert await stored(kafka, topic) == [["first", "x" * 900_000]]


async def test_a_cancelled_append_leaves_those_that_share_its_batch_alone(kafka: str) -> None:
    topic = await new_topic(kafka)
    async with Producing(options(kafka)) as producing:
        await producing.append(topic, [record("first")])
        appends = [
            asyncio.create_task(producing.append(topic, [record(str(n))])) for n in range(100)
        ]
        await asyncio.sleep(0)
        for cancelled in appends[::2]:
            cancelled.cancel()
        ended = await asyncio.gather(*appends, return_exceptions=True)
        await producing.append(topic, [record("last")])

    assert ended[1::2] == [None] * 50
    [values] = await stored(kafka, topic)
    assert values == ["first", *(str(n) for n in range(1, 100, 2)), "last"]
