"""Where partitions begin and end, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.errors import ChannelUnavailable
from tests.services.relay import Relay

SOON = 30.0

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


async def new_topic(address: str, partitions: int) -> str:
    topic = f"offsets-{uuid4()}"
    config = {"message.timestamp.before.max.ms": str((1 << 63) - 1), "retention.ms": "-1"}
    await ensure_topic(
        options(address), topic, partitions=partitions, replication_factor=1, config=config
    )
    return topic


async def write(address: str, topic: str, partition: int, times: Sequence[int]) -> None:
    """Write records of these times, in milliseconds behind the moment."""
    start = round(MOMENT.timestamp() * 1000)
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for each in times:
            await producer.send_and_wait(
                topic, b"x", partition=partition, timestamp_ms=start + each
            )


@pytest.fixture
async def offsets(kafka: str) -> AsyncIterator[Offsets]:
    async with Offsets(options(kafka)) as opened:
        yield opened


async def test_the_ends_are_those_of_all_partitions(kafka: str, offsets: Offsets) -> None:
    topic = await new_topic(kafka, 3)
    await write(kafka, topic, 1, [0] * 5)

    assert await offsets.ends(topic) == {0: 0, 1: 5, 2: 0}
    assert await offsets.beginnings(topic) == {0: 0, 1: 0, 2: 0}


async def test_whoever_asks_knows_what_was_written_before(kafka: str, offsets: Offsets) -> None:
    topic = await new_topic(kafka, 1)
    for number in range(1, 20):
        await write(kafka, topic, 0, [0])
        assert await offsets.ends(topic) == {0: number}


async def test_what_the_retention_removed_is_before_the_beginning(
    kafka: str, offsets: Offsets
) -> None:
    topic = await new_topic(kafka, 2)
    await write(kafka, topic, 0, [0] * 5)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=3)})
    await admin.close()

    assert await offsets.beginnings(topic) == {0: 3, 1: 0}
    assert await offsets.ends(topic) == {0: 5, 1: 0}


async def test_a_time_leads_to_the_first_record_that_is_no_earlier(
    kafka: str, offsets: Offsets
) -> None:
    topic = await new_topic(kafka, 3)
    await write(kafka, topic, 0, [0, 10, 5, 20])
    await write(kafka, topic, 1, [-10])

    async def found(milliseconds: float) -> dict[int, int]:
        time = MOMENT + timedelta(milliseconds=milliseconds)
        return dict(await offsets.at_time(topic, time))

    assert await found(-10) == {0: 0, 1: 0, 2: 0}
    assert await found(0) == {0: 0, 1: 1, 2: 0}
    assert await found(0.001) == {0: 1, 1: 1, 2: 0}
    assert await found(10) == {0: 1, 1: 1, 2: 0}
    assert await found(10.5) == {0: 3, 1: 1, 2: 0}
    assert await found(21) == {0: 4, 1: 1, 2: 0}
    assert await offsets.at_time(topic, datetime.min.replace(tzinfo=UTC)) == {0: 0, 1: 0, 2: 0}
    assert await offsets.at_time(topic, datetime.max.replace(tzinfo=UTC)) == {0: 4, 1: 1, 2: 0}


async def test_partitions_that_were_added_are_there_at_once(kafka: str, offsets: Offsets) -> None:
    topic = await new_topic(kafka, 1)
    assert await offsets.ends(topic) == {0: 0}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(total_count=4)})
    await admin.close()

    async with asyncio.timeout(SOON):
        while len(await offsets.ends(topic)) < 4:
            pass

    assert await offsets.ends(topic) == {0: 0, 1: 0, 2: 0, 3: 0}


async def test_a_thousand_who_ask_at_once_are_answered_by_few_requests(
    kafka: str, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [await new_topic(kafka, 2) for _ in range(2)]
    await write(kafka, topics[1], 1, [0])
    await offsets.ends(topics[0])
    sent: list[object] = []
    send = offsets._client.send

    def counted(node: int, request: object) -> object:
        sent.append(request)
        return send(node, request)

    monkeypatch.setattr(offsets._client, "send", counted)
    questions = [offsets.ends, offsets.beginnings]

    answers = await asyncio.gather(*(questions[n % 2](topics[n % 4 // 2]) for n in range(1_000)))

    assert answers[:4] == [{0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0, 1: 1}, {0: 0, 1: 0}]
    assert answers == answers[:4] * 250
    # For the partitions and the ends, which the first one asked; and for the beginnings as well.
    assert len(sent) == 2 + 3


async def test_a_topic_that_is_not_there_is_told_by_its_name(kafka: str, offsets: Offsets) -> None:
    with pytest.raises(ChannelUnavailable, match=r"the topic nowhere .* UNKNOWN_TOPIC"):
        await offsets.ends("nowhere")


async def test_an_outage_is_told_and_over_when_kafka_is_back(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka, 2)
    async with Offsets(options(kafka_relay.address)) as offsets:
        with kafka_relay.cut(), pytest.raises(ChannelUnavailable, match="refused"):
            await offsets.ends(topic)
        assert await offsets.ends(topic) == {0: 0, 1: 0}
        with kafka_relay.cut(), pytest.raises(ChannelUnavailable, match="refused"):
            await offsets.ends(topic)
        assert await offsets.ends(topic) == {0: 0, 1: 0}


async def test_connections_that_were_lost_meanwhile_are_opened_again_unnoticed(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka, 1)
    async with Offsets(options(kafka_relay.address)) as offsets:
        await offsets.ends(topic)
        with kafka_relay.cut():
            pass

        assert await offsets.ends(topic) == {0: 0}


async def test_a_kafka_that_does_not_answer_is_waited_for_a_while(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka, 1)
    async with Offsets(options(kafka_relay.address)) as offsets:
        await offsets.ends(topic)
        with kafka_relay.hung(), pytest.raises(ChannelUnavailable, match="no answer in time"):
            await offsets.ends(topic)

        assert await offsets.ends(topic) == {0: 0}


async def test_one_who_gives_up_waiting_leaves_nothing_behind(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka, 1)
    async with Offsets(options(kafka_relay.address)) as offsets:
        with kafka_relay.hung(), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await offsets.ends(topic)

        assert await offsets.ends(topic) == {0: 0}
