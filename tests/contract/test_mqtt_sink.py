"""MqttSink on a real MQTT server: what others get, what is refused and why, and outages."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiomqtt
import pytest

from broker.codecs.json import decode_event
from broker.connections.mqtt import client as connecting
from broker.event import Event
from broker.mesh.kindsinks import KindSinks
from broker.ports import Accepted, Refused, Sink
from broker.sinkplugin import sink_plugin
from broker.trigger import SinkObject
from cemesh.testing.contract.sinks import _OPTIONS
from sinks.mqtt import MqttSink, MqttSinkSpec
from tests.contract.mqtt import client
from tests.services.mqtt.server import MAX_PACKET, PASSWORD, USER, Listeners, MqttServer
from tests.services.relay import Relay


@asynccontextmanager
async def sending(address: str, topic: str, **spec: object) -> AsyncIterator[Sink]:
    asked = MqttSinkSpec.model_validate({"url": address, "topic": topic, **spec})
    described = SinkObject(kind="MqttSink", key="default/test", spec=asked)
    plugin = sink_plugin(MqttSink, "MqttSink")
    async with KindSinks(find=lambda kind, at: plugin) as sinks:
        yield await sinks.sink(described, _OPTIONS)


@asynccontextmanager
async def reading(address: str, topic: str) -> AsyncIterator[aiomqtt.Client]:
    async with client(address) as reader:
        await reader.subscribe(f"{topic}/#", qos=1)
        yield reader


async def next_of(reader: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(20):
        return await anext(reader.messages)


def told(message: aiomqtt.Message) -> dict[str, object]:
    assert message.properties is not None
    found: dict[str, object] = message.properties.json()  # type: ignore[no-untyped-call] # paho
    return found


@pytest.fixture
def topic() -> str:
    return f"sink-{uuid.uuid4()}"


def event(data: bytes | None = b'{"n": 1.0}', **attributes: str) -> Event:
    required = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order"}
    return Event.checked({**required, **attributes}, data)


# --- what others get -------------------------------------------------------------------------


async def test_a_binary_message_has_the_attributes_as_user_properties(
    mqtt: str, topic: str
) -> None:
    async with reading(mqtt, topic) as reader, sending(mqtt, f"{topic}/{{type}}") as sink:
        answer = await sink.attempt(event(datacontenttype="application/json", note="ü"))
        message = await next_of(reader)

    assert isinstance(answer, Accepted)
    assert (str(message.topic), message.payload) == (f"{topic}/order", b'{"n": 1.0}')
    assert told(message) == {
        "ContentType": "application/json",
        "UserProperty": [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/shop"),
            ("type", "order"),
            ("note", "ü"),
        ],
    }


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        ("structured", event()),
        ("binary", event(b"{}", datacontenttype="application/cloudevents+json")),
        ("binary", event(note="x" * 70_000)),
    ],
    ids=["asked-for", "of-an-event", "too-long-for-a-property"],
)
async def test_a_structured_message_is_the_event_in_json(
    mqtt: str, topic: str, mode: str, sent: Event
) -> None:
    async with reading(mqtt, topic) as reader, sending(mqtt, f"{topic}/x", contentMode=mode) as to:
        answer = await to.attempt(sent)
        message = await next_of(reader)

    assert isinstance(answer, Accepted)
    assert told(message) == {"ContentType": "application/cloudevents+json"}
    assert decode_event(bytes(message.payload)) == sent


async def test_a_retained_message_is_there_for_whoever_comes_later(mqtt: str, topic: str) -> None:
    async with sending(mqtt, f"{topic}/{{source}}", retain=True) as sink:
        await sink.attempt(event(b"1"))
        await sink.attempt(event(b"2"))
    async with reading(mqtt, topic) as reader:
        message = await next_of(reader)

    assert (message.payload, message.retain, str(message.topic)) == (b"2", True, f"{topic}//shop")


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        (None, "the event has no 'subject', which its topic is made of"),
        ("a+b", "the event's 'subject' has '+' or '#' in it, and no topic may"),
        ("x" * 66_000, "the topic would be longer than 65535 bytes"),
    ],
)
async def test_an_event_that_has_no_topic_is_refused_for_good(
    mqtt: str, topic: str, subject: str | None, why: str
) -> None:
    async with sending(mqtt, f"{topic}/{{subject}}") as sink:
        sent = event() if subject is None else event(subject=subject)
        refused = await sink.attempt(sent)

    assert refused == Refused(reason=f"MQTT server {mqtt}: {why}", permanent=True)


async def test_what_is_larger_than_the_server_takes_is_refused_and_spares_the_connection(
    mqtt: str, topic: str
) -> None:
    async with sending(mqtt, f"{topic}/x") as sink:
        fits, refused = await asyncio.gather(
            sink.attempt(event(b"x" * (MAX_PACKET - 1_000))), sink.attempt(event(b"x" * MAX_PACKET))
        )

    assert isinstance(fits, Accepted)
    assert isinstance(refused, Refused)
    assert refused.permanent
    assert f"the server takes {MAX_PACKET} at most" in refused.reason


async def test_a_topic_that_the_user_may_not_write_is_refused_in_words(
    mqtt_listeners: Listeners,
) -> None:
    user = {"user": USER, "password": PASSWORD}
    async with sending(mqtt_listeners.secured, "forbidden/x", **user) as sink:
        refused = await sink.attempt(event())

    where = f"MQTT server {mqtt_listeners.secured}"
    assert refused == Refused(reason=f"{where} refuses it at 'forbidden/x': Not authorized")


async def test_a_wrong_password_is_said_and_not_shown(
    mqtt_listeners: Listeners, topic: str
) -> None:
    user = {"user": USER, "password": "not-that-one"}
    async with sending(mqtt_listeners.secured, topic, **user) as sink:
        refused = await sink.attempt(event())

    assert isinstance(refused, Refused)
    assert "are 'user' and 'password' those that it knows" in refused.reason
    assert "not-that-one" not in refused.reason


# --- outages ---------------------------------------------------------------------------------


async def test_a_server_that_hangs_is_told_of_and_all_that_waited_for_it_are_refused(
    mqtt_relay: Relay, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_ASKS_EVERY", 1)
    monkeypatch.setattr(connecting, "_UNANSWERED", 2)
    async with sending(mqtt_relay.address, topic) as sink:
        assert isinstance(await sink.attempt(event()), Accepted)
        with mqtt_relay.hung():
            async with asyncio.timeout(30):
                answers = await asyncio.gather(*(sink.attempt(event()) for _ in range(10)))
        assert isinstance(await sink.attempt(event()), Accepted)

    assert {str(each) for each in answers} == {
        str(Refused(reason=f"MQTT server {mqtt_relay.address}: no answer in time"))
    }


async def test_attempts_that_are_given_up_take_no_place_from_others(
    mqtt: str, mqtt_relay: Relay, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_UNANSWERED", 2)
    async with reading(mqtt, topic) as reader, sending(mqtt_relay.address, f"{topic}/x") as sink:
        await sink.attempt(event(b"first"))
        with mqtt_relay.hung():
            given_up = [asyncio.create_task(sink.attempt(event(b"%d" % n))) for n in range(6)]
            await asyncio.sleep(0)
            for each in given_up:
                each.cancel()
            await asyncio.wait(given_up)
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(sink.attempt(event(b"later")) for _ in range(6)))
        came = {(await next_of(reader)).payload for _ in range(9)}

    assert all(isinstance(each, Accepted) for each in answers)
    assert came == {b"first", b"0", b"1", b"later"}  # two were on their way


async def test_it_is_accepted_once_the_server_is_back(mqtt_server: MqttServer, topic: str) -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(mqtt_server)
        sink = await stack.enter_async_context(sending(mqtt_server.listeners.mqtt, topic))
        before = await sink.attempt(event())
        await asyncio.to_thread(mqtt_server.kill)
        away = [await sink.attempt(event()) for _ in range(2)]
        await asyncio.to_thread(mqtt_server.start)
        after = await sink.attempt(event())

    assert (before, after) == (Accepted(), Accepted())
    assert all(isinstance(each, Refused) and not each.permanent for each in away)
    assert "Connection refused" in str(away[-1])


async def test_a_sink_that_is_left_leaves_no_task(mqtt: str, topic: str) -> None:
    before = asyncio.all_tasks()
    async with sending(mqtt, topic) as sink:
        await sink.attempt(event())
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
