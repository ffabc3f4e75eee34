"""What is Kafka's own about its channel: topics, and what others write to them and read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as PlainBuilder
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from broker.channels.kafka import KafkaBackend
from broker.channels.kafka.sessions import Fetch
from broker.errors import CemeshError, ChannelUnavailable, TooLarge
from broker.event import Event
from broker.ports import Channel, DeadLetter
from tests.contract.harness import options
from tests.contract.kafka import SOON, TOLD_WITHIN, TOPIC, admin_of, new_broker, opened, topic_of
from tests.contract.test_channel import TRIGGER, event, ids, reading
from tests.services.relay import Relay

# --- topics --------------------------------------------------------------------------------


async def test_a_brokers_topic_is_made_as_its_config_map_says(kafka: str) -> None:
    broker = new_broker()
    config = {
        **TOPIC,
        "default.topic.partitions": "5",
        "default.topic.config.retention.ms": "86400000",
        "default.topic.config.max.message.bytes": "50000",
    }

    async with opened(kafka, broker, config):
        found = await configuration(kafka, topic_of(broker))

        assert await partitions_of(kafka, topic_of(broker)) == 5
        assert (found["retention.ms"], found["max.message.bytes"]) == ("86400000", "50000")


async def test_a_brokers_topic_is_called_as_the_template_says(kafka: str) -> None:
    name = str(uuid4())
    config = {**TOPIC, "brokers.topic.template": "events.{{ .Name }}.of.{{ .Namespace }}"}

    async with opened(kafka, f"shop/{name}", config):
        assert await partitions_of(kafka, f"events.{name}.of.shop") == 3


async def test_an_external_topic_is_used_as_it_is(kafka: str) -> None:
    topic = f"external-{uuid4()}"
    await create(kafka, topic)
    before = await configuration(kafka, topic)
    broker = new_broker()
    config = {**TOPIC, "kafka.eventing.knative.dev/external.topic": topic}

    async with opened(kafka, broker, config) as channel, reading(channel) as reader:
        await channel.append([event("1")])

        assert (await reader.claim()).event.id == "1"
    assert await partitions_of(kafka, topic) == 2
    assert await configuration(kafka, topic) == before
    async with admin_of(kafka) as admin:
        assert topic_of(broker) not in await admin.list_topics()


async def test_an_external_topic_that_is_not_there_is_told(kafka: str) -> None:
    topic = f"external-{uuid4()}"
    config = {**TOPIC, "kafka.eventing.knative.dev/external.topic": topic}

    with pytest.raises(ChannelUnavailable, match=f"no topic '{topic}'.*create it"):
        async with opened(kafka, new_broker(), config):
            pass


async def test_brokers_that_would_share_their_topics_are_refused(kafka: str) -> None:
    config = {**TOPIC, "brokers.topic.template": f"{uuid4()}-{{{{ .Name }}}}"}
    async with KafkaBackend.from_url(f"kafka://{kafka}", options(Path("unused"))) as backend:
        await backend.channel("a/orders", config, {})

        with pytest.raises(CemeshError, match=r"broker b/orders: .*broker a/orders.*template"):
            await backend.channel("b/orders", config, {})


async def create(address: str, topic: str, partitions: int = 2) -> None:
    async with admin_of(address) as admin:
        await admin.create_topics([NewTopic(topic, partitions, 1)])


async def partitions_of(address: str, topic: str) -> int:
    async with admin_of(address) as admin:
        (found,) = await admin.describe_topics([topic])
    return len(found["partitions"])


async def configuration(address: str, topic: str) -> Mapping[str, str]:
    async with admin_of(address) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        while True:
            ((answer),) = await admin.describe_configs([resource])
            ((*_, entries),) = answer.resources
            if entries:
                return {entry[0]: entry[1] for entry in entries}
            await asyncio.sleep(0.05)  # the server learns of a topic just after it was made


# --- what others write ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Foreign:
    """A record as others write it."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    key: bytes | None = None


def binary(id: str, *added: tuple[str, bytes | None]) -> Foreign:
    attributes = {"specversion": "1.0", "id": id, "source": "/theirs", "type": "order.created"}
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    return Foreign(b"{}", [*headers, *added])


async def write(address: str, topic: str, *records: Foreign) -> None:
    """Write the records to the first partition, each in the batch of those beside it."""
    async with AIOKafkaProducer(bootstrap_servers=address, linger_ms=50) as theirs:
        sent = [
            await theirs.send(
                topic, each.value, key=each.key, headers=list(each.headers), partition=0
            )
            for each in records
        ]
        await asyncio.gather(*sent)


async def test_events_of_other_producers_are_claimed(kafka: str) -> None:
    broker = new_broker()
    structured = Foreign(
        b'{"specversion":"1.0","id":"structured","source":"/theirs","type":"t","data":{"a":1.10}}',
        [("content-type", b"application/cloudevents+json; charset=utf-8")],
        key=b"anything",
    )
    foreign = binary("2", ("traceparent", b"\xff"), ("null", None), ("", b""), ("x", b"1"))
    async with opened(kafka, broker) as channel, reading(channel) as reader:
        await write(kafka, topic_of(broker), binary("1"), foreign, structured)

        claims = {claim.event.id: claim.event for claim in await reader.take(3)}

    assert claims["2"] == replace(claims["1"], attributes={**claims["1"].attributes, "id": "2"})
    assert claims["structured"].data == b'{"a":1.10}'


NOT_EVENTS = {
    "none at all": (Foreign(b"hello"), "it has no header that begins with 'ce_'"),
    "a tombstone": (Foreign(None, key=b"k"), "it has no header that begins with 'ce_'"),
    "without an id": (
        Foreign(b"", [("ce_specversion", b"1.0"), ("ce_source", b"/"), ("ce_type", b"t")]),
        "id",
    ),
    "a null attribute": (binary("1", ("ce_subject", None)), "'ce_subject' is null"),
    "an attribute that is no text": (binary("1", ("ce_subject", b"\xff")), "not UTF-8"),
    "an attribute that occurs twice": (binary("1", ("ce_id", b"2")), "'ce_id' occurs twice"),
    "structured, and not JSON": (
        Foreign(b"{", [("content-type", b"application/cloudevents+json")]),
        "JSON",
    ),
    "a batch": (
        Foreign(b"[]", [("content-type", b"application/cloudevents-batch+json")]),
        "Kafka has no batched content mode",
    ),
}


async def test_what_is_no_event_is_a_dead_letter_with_the_reason_and_stops_nobody(
    kafka: str,
) -> None:
    broker = new_broker()
    async with opened(kafka, broker) as channel, reading(channel) as reader:
        await write(
            kafka,
            topic_of(broker),
            binary("before"),
            *(record for record, _ in NOT_EVENTS.values()),
            binary("after"),
        )

        assert ids(await reader.take(2)) == ["after", "before"]
        letters = await dead_letters(channel, len(NOT_EVENTS))
        books = (await channel.books())[TRIGGER]

    for letter, (record, reason) in zip(letters, NOT_EVENTS.values(), strict=True):
        assert letter.event.data == record.value
        assert reason in letter.why.reason
    assert (books.matched, books.waiting, books.unaccounted) == (2, 2, 0)


async def dead_letters(channel: Channel, count: int) -> Sequence[DeadLetter]:
    """Return the dead letters once there are so many."""
    async with asyncio.timeout(SOON):
        while len(found := await channel.dead_letters.list()) < count:
            await asyncio.sleep(0.05)
    return found


class NotUtf8(str):
    """A name that goes out as bytes which are no text."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def test_a_record_with_a_header_whose_name_is_no_text_takes_no_neighbour_with_it(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = new_broker()
    unreadable = Foreign(b"data", [(NotUtf8("bad"), b"y")])
    async with opened(kafka, broker) as channel, reading(channel) as reader:
        with monkeypatch.context() as patched:
            # The builder that is compiled takes no name but a text.
            patched.setattr(message_accumulator, "DefaultRecordBatchBuilder", PlainBuilder)
            patched.setattr(producer, "DefaultRecordBatchBuilder", PlainBuilder)
            await write(kafka, topic_of(broker), binary("before"), unreadable, binary("after"))

        assert ids(await reader.take(2)) == ["after", "before"]
        (letter,) = await dead_letters(channel, 1)
        assert letter.event.data == b"data"


# --- what others read ----------------------------------------------------------------------


async def test_events_are_records_in_binary_mode_that_the_sdk_reads(kafka: str) -> None:
    broker = new_broker()
    sent = Event.checked(
        {
            "specversion": "1.0",
            "id": "1",
            "source": "/shop",
            "type": "order.created",
            "time": "2026-11-22T10:00:00Z",
            "datacontenttype": "application/json",
            "partitionkey": "customer-7",
            "orderid": "ü 1",
        },
        b'{"amount": 110}',
    )
    async with opened(kafka, broker) as channel:
        await channel.append([sent])

    record = await first_record(kafka, topic_of(broker))
    read = from_kafka_event(
        KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
    )

    assert (record.key, record.value) == (b"customer-7", sent.data)
    assert read.get_attributes() == {
        **sent.attributes,
        "time": datetime(2026, 11, 22, 10, tzinfo=UTC),
    }
    assert read.get_data() == {"amount": 110}


async def first_record(address: str, topic: str) -> Any:  # noqa: ANN401 - aiokafka has no types
    async with (
        AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest") as theirs,
        asyncio.timeout(SOON),
    ):
        return await theirs.getone()


async def test_an_event_larger_than_the_topic_takes_is_too_large_and_no_other_is(
    kafka: str,
) -> None:
    config = {**TOPIC, "default.topic.config.max.message.bytes": "20000"}
    async with opened(kafka, new_broker(), config) as channel, reading(channel) as reader:
        with pytest.raises(TooLarge):
            await channel.append([event("large", data=b"x" * 30_000)])
        await channel.append([event("small", data=b"x" * 10_000)])

        assert (await reader.claim()).event.id == "small"
        assert await reader.nothing()


# --- what waits ----------------------------------------------------------------------------


async def test_the_topics_of_delays_are_asked_more_often_while_something_waits_in_them(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: dict[AIOKafkaClient, int] = {}
    send = AIOKafkaClient.send

    async def noted(self: AIOKafkaClient, node: int, request: Any, **others: Any) -> Any:  # noqa: ANN401 - aiokafka has no types
        if isinstance(request, Fetch):
            waits[self] = request.max_wait_ms
        return await send(self, node, request, **others)

    async def asked(*expected: int) -> None:
        async with asyncio.timeout(SOON):
            while sorted(waits.values()) != [*expected]:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    async with opened(kafka, new_broker()) as channel, reading(channel) as reader:
        await channel.append([event("late")])
        first = await reader.claim()
        await asked(500, 500)
        reader.cursor.defer(first, timedelta(seconds=1), attempts=1, condemned=None)
        await asked(100, 500)
        second = await reader.claim()
        await asked(500, 500)

    assert (second.event.id, second.attempts) == ("late", 1)


# --- a network that hangs ------------------------------------------------------------------


async def test_a_kafka_that_does_not_answer_is_told_of_and_is_over_by_itself(
    kafka_relay: Relay,
) -> None:
    async with opened(kafka_relay.address, new_broker()) as channel, reading(channel) as reader:
        await channel.append([event("before")])
        with kafka_relay.hung(), pytest.raises(ChannelUnavailable):
            async with asyncio.timeout(TOLD_WITHIN):
                await channel.append([event("hung")])
        await append_until_stored(channel, event("after"))

        claimed: set[str] = set()
        while not {"before", "after"} <= claimed:  # nobody knows what became of the third
            claimed.add((await reader.claim()).event.id)


async def append_until_stored(channel: Channel, event: Event) -> None:
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await channel.append([event])
            except ChannelUnavailable:
                await asyncio.sleep(0.05)
