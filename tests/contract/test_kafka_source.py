"""KafkaSource on a real Kafka: what it reads, from where on, and what it survives."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from cemesh.testing import RunningSource, running
from sources.kafka import KafkaSource, KafkaSpec, reading, source
from tests.contract import batches
from tests.services.kafka.settings import PASSWORD, USER, Listeners
from tests.services.relay import Relay
from tests.unit.meshes import until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_LOOKS_EVERY", 0.2)


@pytest.fixture
async def topic(kafka: str) -> str:
    """Return a new topic with three partitions."""
    name = f"source-{uuid.uuid4()}"
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(name, 3, 1)])
    return name


@pytest.fixture
def authority(kafka_listeners: Listeners) -> str:
    return Path(kafka_listeners.authority).read_text()


@pytest.fixture
def client(kafka_listeners: Listeners) -> tuple[str, str]:
    """Return the private key and the certificate that ``mtls`` lets in."""
    key, begin, certificate = Path(kafka_listeners.client).read_text().partition("-----BEGIN CERT")
    return key, begin + certificate


@asynccontextmanager
async def admin(kafka: str) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def produce(
    kafka: str,
    topic: str,
    values: Sequence[bytes | None],
    *,
    partition: int = 0,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, value, key=key, partition=partition, headers=headers)
            for value in values
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def read(
    kafka: str, topic: str, *, name: str = "orders", **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    asked = {
        "bootstrapServers": [kafka],
        "topics": [topic],
        "consumerGroup": topic,
        "initialOffset": "earliest",
        **spec,
    }
    return running(KafkaSource, KafkaSpec.model_validate(asked), name=name)


async def committed(kafka: str, topic: str, partition: int = 0) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    try:
        found: int | None = await consumer.committed(TopicPartition(topic, partition))
        return found
    finally:
        await consumer.stop()


async def until_committed(kafka: str, topic: str, offset: int, partition: int = 0) -> None:
    async with asyncio.timeout(30):
        while await committed(kafka, topic, partition) != offset:
            await asyncio.sleep(0.05)


# --- what is read ----------------------------------------------------------------------------


async def test_a_record_that_is_no_event_becomes_one_that_says_where_it_stood(
    kafka: str, topic: str
) -> None:
    await produce(
        kafka,
        topic,
        [b"\xff{}"],
        partition=2,
        key="kä".encode(),
        headers=[("content-type", b"application/json"), ("X-Request-Id", b"7"), ("ä", b"8")],
    )

    async with read(kafka, topic) as run:
        [event] = await run.events(1)

    attributes = dict(event.attributes)
    assert attributes.pop("time").endswith("Z")
    assert attributes == {
        "specversion": "1.0",
        "id": "partition:2/offset:0",
        "source": f"/apis/v1/namespaces/default/kafkasources/orders#{topic}",
        "type": "dev.knative.kafka.event",
        "subject": "partition:2#0",
        "datacontenttype": "application/json",
        "key": "kä",
        "partitionkey": "kä",
        "kafkaheadercontenttype": "application/json",
        "kafkaheaderxrequestid": "7",
    }
    assert event.data == b"\xff{}"


async def test_a_cloudevent_is_what_it_is_and_what_only_says_it_is_one_is_a_dead_letter(
    kafka: str, topic: str
) -> None:
    binary = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"/shop"),
        ("ce_type", b"order"),
        ("ce_note", "ü".encode()),
        ("content-type", b"text/plain"),
    ]
    structured = b'{"specversion":"1.0","id":"2","source":"/shop","type":"order","data":{"n":1.0}}'
    of_events = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    await produce(kafka, topic, [b"one"], headers=binary)
    await produce(kafka, topic, [structured, b"[no"], headers=of_events)
    await produce(kafka, topic, [b"three"], headers=binary[1:])

    async with read(kafka, topic) as run:
        first, second = await run.events(2)
        broken, unversioned = await run.rejected(2)
        await until_committed(kafka, topic, 4)

    assert first.attributes == {
        **{name.removeprefix("ce_"): value.decode() for name, value in binary[:-1]},
        "datacontenttype": "text/plain",
    }
    assert (first.data, second.id, second.data) == (b"one", "2", b'{"n":1.0}')
    assert (broken.event.data, unversioned.event.data) == (b"[no", b"three")
    assert broken.event.id == f"{topic}/partition:0/offset:2"
    assert f"topic {topic}, partition 0, offset 3: " in unversioned.why.reason
    assert "specversion" in unversioned.why.reason


async def test_what_is_rolled_back_is_never_emitted(kafka: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"never", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"yes", partition=0)
    finally:
        await producer.stop()

    async with read(kafka, topic) as run:
        [event] = await run.events(1)
        await until(lambda: run.status.lag == 0)

    assert event.data == b"yes"


# --- from where on ---------------------------------------------------------------------------


async def test_the_latest_is_what_comes_after_the_first_start_also_while_it_does_not_run(
    kafka: str, topic: str
) -> None:
    await produce(kafka, topic, [b"before"])

    async with read(kafka, topic, initialOffset="latest") as run:
        await until(lambda: run.status.lag == 0)
        await until_committed(kafka, topic, 1)
    for partition in range(3):
        await produce(kafka, topic, [b"meanwhile"], partition=partition)
    async with read(kafka, topic, initialOffset="latest") as run:
        events = await run.events(3)

    assert [each.data for each in events] == [b"meanwhile"] * 3


async def test_a_partition_that_is_added_is_read_from_its_beginning(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(kafka, topic, [b"before"])

    async with read(kafka, topic, initialOffset="latest") as run:
        await until_committed(kafka, topic, 1)
        async with admin(kafka) as client:
            await client.create_partitions({topic: NewPartitions(4)})
        await produce(kafka, topic, [b"new"], partition=3)
        await run.restart()
        [event] = await run.events(1)

    assert (event.id, event.data) == ("partition:3/offset:0", b"new")


async def test_nothing_is_committed_before_it_is_durable(kafka: str, topic: str) -> None:
    await produce(kafka, topic, [b"1", b"2"])

    async with read(kafka, topic) as run:
        await run.events(2)
        await until_committed(kafka, topic, 2)
        with run.outage():
            await produce(kafka, topic, [b"3"])
            await run.until("unhealthy")
            assert await committed(kafka, topic) == 2
            await until(lambda: run.status.lag == 1)
        [third] = await run.events(1)
        await until_committed(kafka, topic, 3)

    assert third.data == b"3"


# --- more than one ---------------------------------------------------------------------------


async def test_processes_share_the_partitions_and_one_that_comes_makes_nothing_repeat(
    kafka: str, topic: str
) -> None:
    async with read(kafka, topic) as one:
        for partition in range(3):
            await produce(kafka, topic, [b"alone"] * 50, partition=partition)
        alone = await one.events(150)
        async with read(kafka, topic) as two:
            await two.until("running")
            await until(lambda: two.status.lag is not None)
            for partition in range(3):
                await produce(kafka, topic, [b"both"] * 50, partition=partition)
            await until(lambda: one.status.emitted + two.status.emitted == 300)
            second = await two.events(two.status.emitted)
        first = await one.events(one.status.emitted - 150)

    assert len(first) in (50, 100)
    assert {each.data for each in first + second} == {b"both"}
    assert len({each.id for each in alone + first + second}) == 300


async def test_what_is_being_stored_when_another_comes_is_finished_and_does_not_repeat(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoking = asyncio.Event()
    on_revoked = source._Listener.on_partitions_revoked

    async def watched(listener: source._Listener, revoked: set[TopicPartition]) -> None:
        if revoked:
            revoking.set()
        await on_revoked(listener, revoked)

    monkeypatch.setattr(source._Listener, "on_partitions_revoked", watched)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(read(kafka, topic))
        await until(lambda: one.status.lag == 0)
        with one.outage():
            for partition in range(3):
                await produce(kafka, topic, [b"1"] * 10, partition=partition)
            await one.until("unhealthy")
            two = await stack.enter_async_context(read(kafka, topic))
            await asyncio.wait_for(revoking.wait(), 30)
        for partition in range(3):
            await until_committed(kafka, topic, 10, partition)

        assert one.status.emitted + two.status.emitted == 30


async def test_what_cannot_be_stored_in_time_is_given_to_another_and_committed_by_that_one_only(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_FINISHES_WITHIN", 0.3)
    async with read(kafka, topic) as one:
        await until(lambda: one.status.lag == 0)
        with one.outage():
            for partition in range(3):
                await produce(kafka, topic, [b"1"] * 10, partition=partition)
            await one.until("unhealthy")
            async with read(kafka, topic) as two:
                first = await two.events(10, within=timedelta(seconds=30))
                for partition in range(3):
                    await produce(kafka, topic, [b"2"] * 5, partition=partition)
                await until(lambda: two.status.emitted in (15, 30))
                second = await two.events(two.status.emitted - 10)
                taken = {each for each in range(3) if await committed(kafka, topic, each) == 15}
                assert len(taken) == two.status.emitted // 15
        seen = {each.id for each in first + second}
        while len(seen) < 45:
            seen |= {each.id for each in await one.events(1)}
        for partition in range(3):
            await until_committed(kafka, topic, 15, partition)

    assert seen == {f"partition:{each}/offset:{n}" for each in range(3) for n in range(15)}


# --- what it survives ------------------------------------------------------------------------


async def test_it_goes_on_by_itself_after_an_outage_and_says_that_there_is_one(
    kafka: str, kafka_relay: Relay, topic: str
) -> None:
    async with read(kafka_relay.address, topic) as run:
        await produce(kafka, topic, [b"1"])
        await run.events(1)
        with kafka_relay.cut():
            told = await run.until("unhealthy")
            await produce(kafka, topic, [b"2"])
        [second] = await run.events(1)
        now = await run.until("running")

    assert f"Kafka at {kafka_relay.address} cannot be used: " in (told.error or "")
    assert (second.data, now.restarts, now.error) == (b"2", 0, None)


async def test_a_kafka_that_hangs_is_told_of(kafka: str, kafka_relay: Relay, topic: str) -> None:
    async with read(kafka_relay.address, topic) as run:
        await until(lambda: run.status.lag == 0)
        with kafka_relay.hung():
            told = await run.until("unhealthy")
            await produce(kafka, topic, [b"1"])
        [event] = await run.events(1)

    assert "no answer in time" in (told.error or "")
    assert event.data == b"1"


async def test_it_is_stopped_in_time_also_while_kafka_hangs(
    kafka_relay: Relay, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with read(kafka_relay.address, topic) as run:
        await until(lambda: run.status.lag == 0)
        with kafka_relay.hung():
            await run.until("unhealthy")
            await run.restart()

    assert "source does not end" not in caplog.text


async def test_a_kafka_that_is_not_there_is_one_line(topic: str) -> None:
    async with read("127.0.0.1:1", topic) as run:
        told = await run.until("unhealthy")

    assert told.error == "Kafka at 127.0.0.1:1 cannot be used: Connection refused"


async def test_a_topic_that_is_not_there_is_named(kafka: str) -> None:
    async with read(kafka, "nowhere") as run:
        told = await run.until("unhealthy")

    assert "nowhere" in (told.error or "")


async def test_a_name_of_a_header_that_is_no_text_stops_its_partition_and_no_other(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_WAIT_MS", 300)
    good = [batches.event(n, data=b"%d" % n) for n in range(4)]
    await batches.write(
        kafka, TopicPartition(topic, 0), good[:1], [good[1], batches.misnamed(), *good[2:]]
    )
    await produce(kafka, topic, [b"other"], partition=1)

    async with read(kafka, topic) as run:
        before = await run.events(3)
        told = await run.until("unhealthy")
        await produce(kafka, topic, [b"later"], partition=1)
        [later] = await run.events(1)
        await until_committed(kafka, topic, 2)

        assert sorted(each.data or b"" for each in before) == [b"0", b"1", b"other"]
        assert later.data == b"later"
        assert f"topic {topic}, partition 0, at or just after offset 2" in (told.error or "")
        await until(lambda: run.status.lag == 3)


# --- security --------------------------------------------------------------------------------


def sasl(mechanism: str) -> Mapping[str, object]:
    return {"enable": True, "user": USER, "password": PASSWORD, "type": mechanism}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_it_reads_over_tls_as_a_user(
    kafka: str, kafka_listeners: Listeners, topic: str, authority: str, mechanism: str
) -> None:
    net = {"sasl": sasl(mechanism), "tls": {"enable": True, "caCert": authority}}
    await produce(kafka, topic, [b"1"])

    async with read(kafka_listeners.sasl_ssl, topic, net=net) as run:
        [event] = await run.events(1)

    assert event.data == b"1"


async def test_it_reads_over_tls_by_a_certificate(
    kafka: str, kafka_listeners: Listeners, topic: str, authority: str, client: tuple[str, str]
) -> None:
    key, certificate = client
    tls = {"enable": True, "caCert": authority, "cert": certificate, "key": key}
    await produce(kafka, topic, [b"1"])

    async with read(kafka_listeners.mtls, topic, net={"tls": tls}) as run:
        [event] = await run.events(1)

    assert event.data == b"1"


async def test_a_wrong_password_is_said_and_not_shown(
    kafka_listeners: Listeners, topic: str
) -> None:
    net = {"sasl": {"enable": True, "user": USER, "password": "not-that-one"}}

    async with read(kafka_listeners.sasl_plaintext, topic, net=net) as run:
        told = await run.until("unhealthy")

    assert "are 'user' and 'password' in 'net.sasl'" in (told.error or "")
    assert "not-that-one" not in (told.error or "")
