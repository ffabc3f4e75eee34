"""Going back in a partition, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as PlainBuilder

from broker.channels.kafka.entries import Entry
from broker.channels.kafka.rereading import LogOfTrigger, Rereading
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import NO_NOTES, Notes, Record, encode
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import EVERYTHING, Exact
from tests.services.kafka.server import KafkaServer

SOON = 30.0
TRIGGER = "default/audit"
ORDERS = Exact((("type", "order"),))


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


def event(number: int, type: str = "order") -> Record:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/", "type": type}
    return encode(Event(attributes, b"x"), NO_NOTES)


async def written(address: str, records: Sequence[Record]) -> TopicPartition:
    topic = f"rereading-{uuid4()}"
    await ensure_topic(options(address), topic, partitions=1, replication_factor=1, config={})
    async with AIOKafkaProducer(bootstrap_servers=address, linger_ms=20) as sender:
        sent = [
            await sender.send(topic, each.value, key=each.key, headers=each.headers)
            for each in records
        ]
        for each in sent:
            await each
    return TopicPartition(topic, 0)


@pytest.fixture
async def rereading(kafka: str) -> AsyncIterator[Rereading]:
    async with Rereading(options(kafka)) as opened:
        yield opened


async def test_what_a_trigger_is_behind_with_is_what_its_filter_passes(
    kafka: str, rereading: Rereading
) -> None:
    kinds = ["order", "other", "order", "order", "other"]
    partition = await written(kafka, [event(n, kind) for n, kind in enumerate(kinds)])
    log = LogOfTrigger(rereading, partition, TRIGGER)

    found, reached = await log.read(ORDERS, 0, 3)

    assert [entry.position for entry in found] == [2, 3]
    assert [entry.event.id for entry in found] == ["2", "3"]
    assert reached == 3


async def test_what_is_for_one_trigger_is_for_no_other(kafka: str, rereading: Rereading) -> None:
    plain = Event({"specversion": "1.0", "id": "x", "source": "/", "type": "other"})
    mine = encode(plain, Notes(to=TRIGGER, attempts=2))
    partition = await written(kafka, [mine, encode(plain, Notes(to="default/else"))])

    found, _ = await LogOfTrigger(rereading, partition, TRIGGER).read(ORDERS, -1, 1)

    assert [(entry.position, entry.attempts) for entry in found] == [(0, 2)]


async def test_a_long_backlog_is_read_in_pieces_that_miss_nothing(
    kafka: str, rereading: Rereading
) -> None:
    partition = await written(kafka, [event(number) for number in range(2_500)])
    log = LogOfTrigger(rereading, partition, TRIGGER)
    found, reached, pieces = [], -1, 0

    while reached < 2_499:
        piece, reached = await log.read(EVERYTHING, reached, 2_499)
        found += [entry.position for entry in piece]
        pieces += 1

    assert found == list(range(2_500))
    assert pieces >= 5


async def test_open_claims_are_fetched_wherever_they_are(kafka: str, rereading: Rereading) -> None:
    partition = await written(kafka, [event(number) for number in range(2_000)])

    found = await LogOfTrigger(rereading, partition, TRIGGER).fetch([1_900, 3, 4, 700])

    assert [entry.position for entry in found] == [3, 4, 700, 1_900]


async def test_what_the_retention_has_removed_is_left_out(kafka: str, rereading: Rereading) -> None:
    partition = await written(kafka, [event(number) for number in range(10)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=6)})
    await admin.close()
    log = LogOfTrigger(rereading, partition, TRIGGER)

    assert [entry.position for entry in await log.fetch([2, 5, 7])] == [7]
    found, reached = await log.read(EVERYTHING, 0, 8)
    assert ([entry.position for entry in found], reached) == ([6, 7, 8], 8)


async def test_records_that_are_no_events_are_passed_over(kafka: str, rereading: Rereading) -> None:
    foreign = Record(key=None, value=b"no event", headers=[("x", b"y")])
    partition = await written(kafka, [event(0), foreign, event(2)])
    log = LogOfTrigger(rereading, partition, TRIGGER)

    found, reached = await log.read(EVERYTHING, -1, 2)

    assert ([entry.position for entry in found], reached) == ([0, 2], 2)
    assert [entry.position for entry in await log.fetch([1, 2])] == [2]


class NotUtf8(str):
    """A name that goes out as bytes which are no text."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def test_a_header_that_nobody_can_read_is_told_and_not_passed_over(
    kafka: str, rereading: Rereading, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The builder that is compiled takes no name but a text.
    monkeypatch.setattr(message_accumulator, "DefaultRecordBatchBuilder", PlainBuilder)
    monkeypatch.setattr(producer, "DefaultRecordBatchBuilder", PlainBuilder)
    unreadable = Record(key=None, value=b"", headers=[(NotUtf8("bad"), b"y")])
    partition = await written(kafka, [event(0), unreadable, event(2)])

    with pytest.raises(ChannelUnavailable, match=r"from offset 0 on.*not UTF-8"):
        await LogOfTrigger(rereading, partition, TRIGGER).read(EVERYTHING, -1, 2)


async def test_an_outage_is_told_and_over_when_kafka_is_back(kafka_server: KafkaServer) -> None:
    with kafka_server:
        partition = await written(kafka_server.address, [event(0)])
        async with Rereading(options(kafka_server.address)) as rereading:
            log = LogOfTrigger(rereading, partition, TRIGGER)
            await log.read(EVERYTHING, -1, 0)
            kafka_server.kill()

            with pytest.raises(ChannelUnavailable, match="cannot be read"):
                await log.read(EVERYTHING, -1, 0)

            await asyncio.to_thread(kafka_server.restart)
            found = await read_once_it_is_back(log)

    assert [entry.event.id for entry in found] == ["0"]


async def read_once_it_is_back(log: LogOfTrigger) -> Sequence[Entry]:
    async with asyncio.timeout(SOON):
        while True:
            try:
                return (await log.read(EVERYTHING, -1, 0))[0]
            except ChannelUnavailable:  # Kafka answers before its partitions have leaders again
                continue
