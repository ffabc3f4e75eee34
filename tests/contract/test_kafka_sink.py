"""KafkaSink on a real Kafka: what others get, what is refused and why, and outages."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.codecs.json import decode_event
from broker.codecs.kafka import decode
from broker.connections.kafka import connecting
from broker.event import Event
from broker.mesh.kindsinks import KindSinks
from broker.ports import Accepted, Answer, Refused, Sink, SinkOptions
from broker.sinkplugin import sink_plugin
from broker.trigger import SinkObject
from sinks.kafka import KafkaSink, KafkaSinkSpec, producing
from tests.contract.kafka_topics import admin, new_topic, records
from tests.services.kafka.server import KafkaServer
from tests.services.kafka.settings import PASSWORD, USER, Listeners
from tests.services.relay import Relay

pytestmark = pytest.mark.timeout(90)


@asynccontextmanager
async def storing(
    kafka: str, topic: str, *, within: float = 10, **spec: object
) -> AsyncIterator[Sink]:
    asked = {"bootstrapServers": [kafka], "topic": topic, "contentMode": "binary", **spec}
    described = SinkObject(
        kind="KafkaSink", key="default/test", spec=KafkaSinkSpec.model_validate(asked)
    )
    plugin = sink_plugin(KafkaSink, "KafkaSink")
    async with KindSinks(find=lambda kind, at: plugin) as sinks:
        options = SinkOptions(namespace="default", timeout=timedelta(seconds=within))
        yield await sinks.sink(described, options)


def event(id: str = "1", data: bytes | None = b'{"n": 1.0}', **attributes: str) -> Event:
    required = {"specversion": "1.0", "id": id, "source": "/shop", "type": "order"}
    return Event.checked({**required, **attributes}, data)


async def until_accepted(sink: Sink, sent: Event) -> None:
    answer: Answer = Refused(reason="not tried")
    async with asyncio.timeout(30):
        while not isinstance(answer, Accepted):
            answer = await sink.attempt(sent)


def may_be_tried_again(answer: Answer) -> bool:
    return isinstance(answer, Refused) and not answer.permanent


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (producing, connecting):
        monkeypatch.setattr(module, "ANSWERS_WITHIN", timedelta(seconds=1))


@pytest.fixture
async def topic(kafka: str) -> str:
    return await new_topic(kafka)


# --- what others get -------------------------------------------------------------------------


async def test_a_binary_record_has_the_attributes_as_headers(kafka: str, topic: str) -> None:
    async with storing(kafka, topic) as sink:
        answer = await sink.attempt(event(datacontenttype="application/json", note="ü"))
    [record] = await records(kafka, topic, 1)

    assert isinstance(answer, Accepted)
    assert (record.key, record.value) == (None, b'{"n": 1.0}')
    assert sorted(record.headers) == [
        ("ce_id", b"1"),
        ("ce_note", "ü".encode()),
        ("ce_source", b"/shop"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"order"),
        ("content-type", b"application/json"),
    ]


async def test_a_record_tells_of_the_span_that_its_event_comes_from(kafka: str, topic: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = replace(event(traceparent=trace.replace("-01", "-00")), trace=f"{trace} a=1")
    async with storing(kafka, topic) as sink:
        await sink.attempt(sent)
    [record] = await records(kafka, topic, 1)

    headers = dict(record.headers)
    assert (headers["traceparent"], headers["tracestate"]) == (trace.encode(), b"a=1")
    assert headers["ce_traceparent"] == sent.attributes["traceparent"].encode()
    assert decode(record.headers, record.value)[0] == sent


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        ("structured", event()),
        ("binary", event(data=b"{}", datacontenttype="application/cloudevents+json")),
        ("binary", event(note="x" * 7_000)),
    ],
    ids=["asked-for", "of-an-event", "too-long-for-headers"],
)
async def test_a_structured_record_is_the_event_in_json(
    kafka: str, topic: str, mode: str, sent: Event
) -> None:
    async with storing(kafka, topic, contentMode=mode) as sink:
        await sink.attempt(sent)
    [record] = await records(kafka, topic, 1)

    assert [name for name, _ in record.headers] == ["content-type"]
    assert record.headers[0][1].startswith(b"application/cloudevents+json")
    assert decode_event(record.value) == sent


async def test_events_of_a_key_are_in_one_partition_in_the_order_that_they_were_accepted_in(
    kafka: str, topic: str
) -> None:
    async def one_by_one(sink: Sink, key: str) -> None:
        for number in range(20):
            assert isinstance(await sink.attempt(event(id=f"{number}", partitionkey=key)), Accepted)

    async with storing(kafka, topic) as sink:
        await asyncio.gather(*(one_by_one(sink, f"k{number}") for number in range(6)))
    found = await records(kafka, topic, 120)

    assert len({each.partition for each in found}) > 1
    for key in {each.key for each in found}:
        mine = [each for each in found if each.key == key]
        assert len({each.partition for each in mine}) == 1
        assert [dict(each.headers)["ce_id"] for each in mine] == [b"%d" % n for n in range(20)]


async def test_a_topic_that_is_missing_is_made_as_the_spec_says(kafka: str) -> None:
    name = f"made-{uuid.uuid4()}"
    async with storing(kafka, name, numPartitions=4, replicationFactor=1) as sink:
        answer = await sink.attempt(event())
        again = await sink.attempt(event())
    async with admin(kafka) as client:
        [told] = await client.describe_topics([name])

    assert (answer, again) == (Accepted(), Accepted())
    assert len(told["partitions"]) == 4


# --- what is refused -------------------------------------------------------------------------


async def test_a_topic_that_is_missing_is_refused_until_it_is_there(kafka: str) -> None:
    name = f"missing-{uuid.uuid4()}"
    async with storing(kafka, name) as sink:
        refused = await sink.attempt(event())
    async with storing(kafka, name, numPartitions=1, replicationFactor=9) as sink:
        not_made = await sink.attempt(event())

    assert refused == Refused(
        reason=f"Kafka at {kafka} has no topic '{name}'; create it, or say by 'numPartitions' and "
        "'replicationFactor' how it is to be made"
    )
    assert isinstance(not_made, Refused)
    assert f"does not make the topic '{name}': " in not_made.reason


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("within", [10, 0.5])
async def test_a_topic_that_is_deleted_meanwhile_is_made_again(
    kafka: str, topic: str, within: float
) -> None:
    made = {"numPartitions": 1, "replicationFactor": 1}
    async with storing(kafka, topic, within=within, **made) as sink:
        before = await sink.attempt(event("1"))
        async with admin(kafka) as client:
            await client.delete_topics([topic])
            async with asyncio.timeout(30):
                while topic in await client.list_topics():  # it may still take records
                    await asyncio.sleep(0.02)
        await until_accepted(sink, event("2"))
    found = await records(kafka, topic, 1)

    assert isinstance(before, Accepted)
    # More than once, if an attempt that was given up was late.
    assert {dict(each.headers)["ce_id"] for each in found} == {b"2"}


async def test_only_what_is_larger_than_the_topic_takes_is_refused_for_good(kafka: str) -> None:
    topic = await new_topic(kafka, partitions=1, **{"max.message.bytes": "4000"})
    sent = [event(f"{n}", b"x" * (5_000 if n in (7, 23) else 900)) for n in range(40)]
    async with storing(kafka, topic) as sink:
        answers = await asyncio.gather(*map(sink.attempt, sent))
        again = [sent[n] for n, each in enumerate(answers) if may_be_tried_again(each)]
        await asyncio.gather(*(until_accepted(sink, each) for each in again))
    found = await records(kafka, topic, 38)

    for number, answer in enumerate(answers):
        permanent = isinstance(answer, Refused) and answer.permanent
        assert permanent == (number in (7, 23)), answer
    assert isinstance(answers[7], Refused)
    assert "more than the topic" in answers[7].reason
    assert {int(dict(each.headers)["ce_id"]) for each in found} == {*range(40)} - {7, 23}


async def test_one_that_is_too_large_by_itself_spares_the_others(kafka: str, topic: str) -> None:
    async with storing(kafka, topic) as sink:
        sent = [event(f"{n}", b"x" * (2 << 20 if n == 3 else 10)) for n in range(8)]
        answers = await asyncio.gather(*map(sink.attempt, sent))

    assert [isinstance(each, Accepted) for each in answers] == [n != 3 for n in range(8)]
    assert isinstance(answers[3], Refused)
    assert answers[3].permanent


# --- who comes -------------------------------------------------------------------------------


def by_net(listeners: Listeners, password: str) -> Mapping[str, object]:
    sasl = {"enable": True, "type": "SCRAM-SHA-512", "user": USER, "password": password}
    authority = Path(listeners.authority).read_text()
    return {"net": {"sasl": sasl, "tls": {"enable": True, "caCert": authority}}}


def by_secret(listeners: Listeners, password: str) -> Mapping[str, object]:
    return {
        "auth": {
            "protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "user": USER,
            "password": password,
            "ca.crt": Path(listeners.authority).read_text(),
        }
    }


@pytest.mark.parametrize(
    ("who", "named"),
    [
        (by_net, "'user' and 'password' in 'net.sasl'"),
        (by_secret, "'user' and 'password' in the Secret"),
    ],
    ids=["net", "secret"],
)
async def test_kafka_lets_in_whom_it_knows_and_others_are_told_where_to_look(
    kafka_listeners: Listeners, topic: str, who: object, named: str
) -> None:
    assert callable(who)
    async with storing(kafka_listeners.sasl_ssl, topic, **who(kafka_listeners, PASSWORD)) as sink:
        answer = await sink.attempt(event())
    async with storing(kafka_listeners.sasl_ssl, topic, **who(kafka_listeners, "wrong")) as sink:
        refused = await sink.attempt(event())

    assert isinstance(answer, Accepted)
    assert isinstance(refused, Refused)
    assert not refused.permanent
    assert f"are {named} those that it knows?" in refused.reason
    assert "wrong" not in refused.reason


@pytest.fixture
def shown(kafka_listeners: Listeners) -> Mapping[str, str]:
    """Return a Secret with the certificate that ``mtls`` lets in."""
    key, begin, rest = Path(kafka_listeners.client).read_text().partition("-----BEGIN CERT")
    authority = Path(kafka_listeners.authority).read_text()
    return {"protocol": "SSL", "ca.crt": authority, "user.crt": begin + rest, "user.key": key}


async def test_a_certificate_is_shown_where_kafka_wants_one(
    kafka_listeners: Listeners, topic: str, shown: Mapping[str, str]
) -> None:
    async with storing(kafka_listeners.mtls, topic, auth=shown) as sink:
        answer = await sink.attempt(event())
    async with storing(kafka_listeners.mtls, topic, auth={**shown, "user.skip": "true"}) as sink:
        refused = await sink.attempt(event())

    assert isinstance(answer, Accepted)
    assert isinstance(refused, Refused)


# --- outages ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_a_kafka_that_hangs_is_refused_in_time_and_used_again_afterwards(
    kafka: str, kafka_relay: Relay, topic: str
) -> None:
    async with storing(kafka_relay.address, topic) as sink:
        await until_accepted(sink, event("before"))
        with kafka_relay.hung():
            refused = await asyncio.gather(*(sink.attempt(event(f"{n}")) for n in range(5)))
            anew = await sink.attempt(event("anew"))
        await until_accepted(sink, event("after"))
    found = await records(kafka, topic, 2)

    assert all(isinstance(each, Refused) and "within 1 s" in each.reason for each in refused)
    assert isinstance(anew, Refused)
    assert anew.reason == f"Kafka at {kafka_relay.address} cannot be used: no answer in time"
    assert {b"before", b"after"} <= {dict(each.headers)["ce_id"] for each in found}


async def test_what_was_accepted_is_there_when_kafka_is_killed_and_attempts_go_on_afterwards(
    kafka_server: KafkaServer,
) -> None:
    with kafka_server:
        topic = await new_topic(kafka_server.address, partitions=1)
        async with storing(kafka_server.address, topic) as sink:
            answers = await asyncio.gather(*(sink.attempt(event(f"{n}")) for n in range(50)))
            await asyncio.to_thread(kafka_server.kill)
            refused = await sink.attempt(event("meanwhile"))
            await asyncio.to_thread(kafka_server.start)
            await until_accepted(sink, event("after"))
        found = await records(kafka_server.address, topic, 51)

    assert answers == [Accepted()] * 50
    assert isinstance(refused, Refused)
    assert kafka_server.address in refused.reason
    assert {f"{n}".encode() for n in range(50)} | {b"after"} <= {
        dict(each.headers)["ce_id"] for each in found
    }


async def test_one_that_is_left_while_kafka_hangs_leaves_nothing_behind(
    kafka_relay: Relay, topic: str
) -> None:
    before = asyncio.all_tasks()
    async with storing(kafka_relay.address, topic) as sink:
        await until_accepted(sink, event())
        with kafka_relay.hung():
            attempt = asyncio.create_task(sink.attempt(event()))
            await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.wait([attempt])
    left = asyncio.all_tasks() - before

    assert not [each for each in left if "aiokafka" in repr(each) or "sinks" in repr(each)]
