"""MqttSource on a real MQTT server: what it reads, what it acknowledges, and what it survives."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from broker.connections.mqtt import client as connecting
from broker.event import Event
from cemesh.testing import RunningSource, running
from sources.mqtt import MqttSource, MqttSpec
from tests.contract.mqtt import client, kept, publish
from tests.services.mqtt.server import PASSWORD, USER, Listeners, MqttServer
from tests.services.relay import Relay
from tests.unit.meshes import until

BINARY = [
    ("specversion", "1.0"),
    ("id", "1"),
    ("source", "/shop"),
    ("type", "order"),
    ("note", "ü"),
]


@pytest.fixture
def topic() -> str:
    return f"source-{uuid.uuid4()}"


def read(
    address: str, topic: str, *, topics: Sequence[str] | None = None, **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source in a session of the name of the topic."""
    asked = {"url": address, "topics": topics or [f"{topic}/#"], "clientId": topic, **spec}
    return running(MqttSource, MqttSpec.model_validate(asked), name="orders")


async def settled(run: RunningSource) -> None:
    """Return once the source has subscribed, and has acknowledged what it has emitted."""
    await until(lambda: run.status.lag == 0)


def arrivals(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that gets the payloads of the messages as they arrive at the source."""
    found: list[bytes] = []
    on_message = connecting.Connection._on_message

    def watched(connection: connecting.Connection, *told: Any) -> None:  # noqa: ANN401 - paho's
        on_message(connection, *told)
        found.append(bytes(told[-1].payload))

    monkeypatch.setattr(connecting.Connection, "_on_message", watched)
    return found


def payloads(events: Sequence[Event]) -> list[bytes | None]:
    return [each.data for each in events]


# --- what is read ----------------------------------------------------------------------------


async def test_a_message_that_is_no_event_becomes_one_that_says_where_it_was(
    mqtt: str, topic: str
) -> None:
    async with read(mqtt, topic) as run:
        await settled(run)
        user = [("X-Request-Id", "7"), ("x_request_id", "8"), ("--", "9")]
        await publish(mqtt, f"{topic}/kä", b"\xff{}", content_type="text/plain", user=user)
        await publish(mqtt, f"{topic}/bare", b"")
        told, bare = await run.events(2)

    attributes = dict(told.attributes)
    assert attributes.pop("id") != bare.id
    assert attributes == {
        "specversion": "1.0",
        "source": "/apis/v1/namespaces/default/mqttsources/orders",
        "type": "dev.cemesh.mqtt.message",
        "subject": f"{topic}/kä",
        "datacontenttype": "text/plain",
        "mqttpropertyxrequestid": "7",
    }
    assert (told.data, bare.data) == (b"\xff{}", None)
    assert "datacontenttype" not in bare.attributes


async def test_a_cloudevent_is_what_it_is_and_what_only_says_it_is_one_is_a_dead_letter(
    mqtt: str, topic: str
) -> None:
    structured = b'{"specversion":"1.0","id":"2","source":"/shop","type":"order","data":{"n":1.0}}'
    of_events = "application/cloudevents+json; charset=UTF-8"

    async with read(mqtt, topic) as run:
        await settled(run)
        await publish(mqtt, f"{topic}/1", b"one", content_type="text/plain", user=BINARY)
        await publish(mqtt, f"{topic}/2", structured, b"[no", content_type=of_events)
        await publish(mqtt, f"{topic}/3", b"three", user=BINARY[:1])
        await publish(mqtt, f"{topic}/4", b"four", user=[*BINARY, ("X-Trace", "no attribute")])
        first, second, fourth = await run.events(3)
        broken, unfinished = await run.rejected(2)

    assert first.attributes == {**dict(BINARY), "datacontenttype": "text/plain"}
    assert (first.data, second.id, second.data) == (b"one", "2", b'{"n":1.0}')
    assert fourth.attributes == dict(BINARY)
    assert (broken.event.data, unfinished.event.data) == (b"[no", b"three")
    assert broken.event.id.startswith(f"{topic}/2/")
    assert f"the message of topic {topic}/3: " in unfinished.why.reason


async def test_a_message_that_cannot_be_read_is_a_dead_letter_and_stops_no_other(
    mqtt: str, topic: str
) -> None:
    async with read(mqtt, topic) as run:
        await settled(run)
        await publish(mqtt, f"{topic}/1", b"one", user=[("note", "\ufeff")])
        await publish(mqtt, f"{topic}/2", b"two")
        [event] = await run.events(1)
        [rejected] = await run.rejected(1)
        await settled(run)
        await run.restart()
        await settled(run)
        await publish(mqtt, f"{topic}/3", b"three")
        [after] = await run.events(1)

    assert payloads([event, after]) == [b"two", b"three"]
    assert f"the message of topic {topic}/1: it cannot be read: " in rejected.why.reason
    assert (rejected.event.data or b"").endswith(b"one")


async def test_an_event_of_mqtt_3_is_one_where_the_manifest_says_that_all_are(
    mqtt: str, topic: str
) -> None:
    structured = b'{"specversion":"1.0","id":"2","source":"/shop","type":"order"}'

    async with read(mqtt, topic, format="cloudevents") as run:
        await settled(run)
        await publish(mqtt, f"{topic}/1", structured, b"21.5")
        [event] = await run.events(1)
        [rejected] = await run.rejected(1)

    assert (event.source, event.id) == ("/shop", "2")
    assert rejected.event.data == b"21.5"


async def test_what_the_server_keeps_for_new_subscribers_is_read_once_and_says_so(
    mqtt: str, topic: str
) -> None:
    await publish(mqtt, f"{topic}/kept", b"kept", retain=True)

    async with read(mqtt, topic) as run:
        [kept] = await run.events(1)
        await settled(run)
        await run.restart()
        await settled(run)
        await publish(mqtt, f"{topic}/new", b"new")
        [new] = await run.events(1)
    async with read(mqtt, f"{topic}", clientId=f"{topic}-never", retained="never") as run:
        await settled(run)
        await publish(mqtt, f"{topic}/new", b"new")
        [never] = await run.events(1)

    assert kept.attributes["mqttretained"] == "true"
    assert "mqttretained" not in new.attributes
    assert payloads([kept, new, never]) == [b"kept", b"new", b"new"]


async def test_a_topic_that_is_not_named_any_more_is_not_read_any_more(
    mqtt: str, topic: str
) -> None:
    topics = [f"{topic}/old", f"{topic}/both"]
    async with read(mqtt, topic, topics=topics) as run:
        await settled(run)
        spec = {"url": mqtt, "topics": [f"{topic}/both", f"{topic}/new"], "clientId": topic}
        await run.stop()
        object.__setattr__(run._source, "spec", MqttSpec.model_validate(spec))
        run.start()
        await settled(run)
        for name in ("old", "both", "new"):
            await publish(mqtt, f"{topic}/{name}", name.encode())
        events = await run.events(2)

    assert payloads(events) == [b"both", b"new"]


async def test_a_shared_subscription_gives_each_message_to_one_of_two_sources(
    mqtt: str, topic: str
) -> None:
    topics = [f"$share/{topic}/{topic}/#"]
    async with (
        read(mqtt, topic, topics=topics) as one,
        read(mqtt, topic, topics=topics, clientId=f"{topic}-2") as two,
    ):
        await settled(one)
        await settled(two)
        await publish(mqtt, f"{topic}/x", *(b"%d" % number for number in range(20)))
        first, second = await one.events(10), await two.events(10)

    assert {*payloads(first), *payloads(second)} == {b"%d" % number for number in range(20)}


# --- what is acknowledged --------------------------------------------------------------------


async def test_nothing_is_acknowledged_before_it_is_durable_and_no_more_than_asked_is_sent(
    mqtt: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = arrivals(monkeypatch)
    async with read(mqtt, topic, receiveMaximum=2) as run:
        await settled(run)
        with run.outage():
            await publish(mqtt, f"{topic}/x", b"1", b"2", b"3")
            await run.until("unhealthy")
            async with client(mqtt) as publisher:
                await publisher.publish(f"{topic}/x", b"bound by nothing", qos=0)
            await until(lambda: b"bound by nothing" in sent)
            await run.stop()
        async with client(mqtt, identifier=topic, clean_start=False) as other:
            # Whoever has the session next gets what was sent, not acknowledged, and not emitted.
            async with asyncio.timeout(20):
                came = [(await anext(other.messages)).payload for _ in range(3)]

    assert sent == [b"1", b"2", b"bound by nothing"]
    assert came == [b"1", b"2", b"3"]


async def test_what_was_acknowledged_does_not_come_again(mqtt: str, topic: str) -> None:
    async with read(mqtt, topic) as run:
        await settled(run)
        await publish(mqtt, f"{topic}/x", b"1", user=BINARY)
        await run.events(1)
        await settled(run)
        await run.restart()
        await settled(run)
        await publish(mqtt, f"{topic}/x", b"2", user=BINARY)
        [event] = await run.events(1)

    assert event.data == b"2"


async def test_what_was_emitted_and_not_acknowledged_comes_again_and_an_event_has_its_id(
    mqtt: str, mqtt_relay: Relay, topic: str
) -> None:
    async with read(mqtt_relay.address, topic) as run:
        await settled(run)
        with run.outage():
            await publish(mqtt, f"{topic}/x", b"1", user=BINARY)
            await run.until("unhealthy")
            with mqtt_relay.cut():
                pass  # it is emitted now, and its acknowledgement has no connection to go by
        first, again = await run.events(2)

    assert first == again


async def test_more_of_qos_0_than_can_wait_is_dropped_and_said(
    mqtt: str, topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    came = arrivals(monkeypatch)
    monkeypatch.setattr(connecting, "_UNACKNOWLEDGED", 5)
    async with read(mqtt, topic) as run:
        await settled(run)
        with run.outage():
            await publish(mqtt, f"{topic}/x", b"first")
            await run.until("unhealthy")
            async with client(mqtt) as publisher:
                for number in range(20):
                    await publisher.publish(f"{topic}/x", b"%d" % number, qos=0)
            await publish(mqtt, f"{topic}/x", b"last")
            await until(lambda: b"last" in came)
        events = [*await run.events(2)]
        while events[-1].data != b"last":
            events += await run.events(1)

    assert len(events) == 7
    assert "messages of QoS 0 dropped" in caplog.text


# --- what it survives ------------------------------------------------------------------------


async def test_it_goes_on_by_itself_after_an_outage_and_says_that_there_is_one(
    mqtt: str, mqtt_relay: Relay, topic: str
) -> None:
    async with read(mqtt_relay.address, topic) as run:
        await publish(mqtt, f"{topic}/x", b"1")
        await settled(run)
        with mqtt_relay.cut():
            told = await run.until("unhealthy")
            await publish(mqtt, f"{topic}/x", b"2")
        async with asyncio.timeout(30):
            while (await run.events(1))[0].data != b"2":
                pass
        await run.until("running")

    assert f"MQTT server {mqtt_relay.address}: " in (told.error or "")


async def test_a_server_that_is_restarted_keeps_what_came_meanwhile_and_before(
    mqtt_server: MqttServer, topic: str
) -> None:
    with mqtt_server:
        address = mqtt_server.listeners.mqtt
        async with read(address, topic) as run:
            await settled(run)
            await run.stop()
            await publish(address, f"{topic}/x", b"1")
            await asyncio.to_thread(mqtt_server.restart)
            run.start()
            [first] = await run.events(1)
            await settled(run)
            await asyncio.to_thread(mqtt_server.stop)
            await run.until("unhealthy")
            await asyncio.to_thread(mqtt_server.start)
            await run.until("running")
            await publish(address, f"{topic}/x", b"2")
            [second] = await run.events(1)

    assert payloads([first, second]) == [b"1", b"2"]


async def test_a_server_that_has_forgotten_the_session_is_told_of(
    mqtt: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with read(mqtt, topic) as run:
        await settled(run)
        await run.stop()
        async with client(mqtt, identifier=topic, clean_start=True):
            pass
        run.start()
        await settled(run)
        await publish(mqtt, f"{topic}/x", b"1")
        await run.events(1)

    assert "session lost" in [each.message for each in caplog.records]


async def test_a_server_that_hangs_is_told_of_and_keeps_nobody_from_ending(
    mqtt_relay: Relay,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connecting, "_ASKS_EVERY", 1)
    monkeypatch.setattr(connecting, "ANSWERS_WITHIN", 0.5)
    async with read(mqtt_relay.address, topic) as run:
        await settled(run)
        with mqtt_relay.hung():
            told = await run.until("unhealthy")
            await run.restart()
            again = await run.until("unhealthy")
            await run.stop()
            await asyncio.sleep(0)
            left = [each for each in asyncio.all_tasks() if "_misc_loop" in str(each)]

    for each in (told, again):
        assert "no answer in time" in (each.error or "")
    assert not left
    assert "source does not end" not in caplog.text


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_that_comes_together_with_an_answer_of_the_server_is_not_lost(
    turns: int,
    mqtt: str,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    on_subscribe = connecting.Connection._on_subscribe
    stops: list[asyncio.Task[None]] = []
    async with read(mqtt, topic) as run:

        def watched(connection: connecting.Connection, *told: Any) -> None:  # noqa: ANN401 - paho's
            # The stop reaches the source some turns of the loop later, and so does the answer.
            stops.append(asyncio.create_task(run.stop()))
            answer(turns, connection, *told)

        def answer(left: int, connection: connecting.Connection, *told: Any) -> None:  # noqa: ANN401 - as above
            if left:
                asyncio.get_running_loop().call_soon(answer, left - 1, connection, *told)
            else:
                on_subscribe(connection, *told)

        monkeypatch.setattr(connecting.Connection, "_on_subscribe", watched)
        await until(lambda: bool(stops))
        await stops[0]

    assert "source does not end" not in caplog.text


async def test_a_stopped_source_leaves_no_task_and_no_connection(mqtt: str, topic: str) -> None:
    before = asyncio.all_tasks()
    async with read(mqtt, topic) as run:
        await settled(run)
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


async def test_a_server_that_is_not_there_is_one_line(topic: str) -> None:
    async with read("127.0.0.1:1", topic) as run:
        told = await run.until("unhealthy")

    assert told.error == "MQTT server 127.0.0.1:1: Connection refused"


async def test_a_server_that_acknowledges_nothing_is_told_of(
    mqtt_listeners: Listeners, topic: str
) -> None:
    async with read(mqtt_listeners.qos_0, topic) as run:
        told = await run.until("unhealthy")

    assert "it takes no messages of QoS 1" in (told.error or "")


async def test_it_has_its_session_back_after_another_client_of_the_same_name(
    mqtt: str, topic: str
) -> None:
    async with read(mqtt, topic) as run:
        await settled(run)
        async with client(mqtt, identifier=topic, clean_start=False, properties=kept()):
            told = await run.until("unhealthy")
        await publish(mqtt, f"{topic}/x", b"1")
        [event] = await run.events(1)

    assert (told.error, event.data) == (f"MQTT server {mqtt}: it closed the connection", b"1")


# --- security --------------------------------------------------------------------------------


async def test_it_reads_as_a_user(mqtt_listeners: Listeners, mqtt: str, topic: str) -> None:
    async with read(mqtt_listeners.secured, topic, user=USER, password=PASSWORD) as run:
        await settled(run)
        await publish(mqtt, f"{topic}/x", b"1")
        [event] = await run.events(1)

    assert event.data == b"1"


async def test_a_wrong_password_is_said_and_not_shown(
    mqtt_listeners: Listeners, topic: str
) -> None:
    async with read(mqtt_listeners.secured, topic, user=USER, password="not-that-one") as run:
        told = await run.until("unhealthy")

    assert "are 'user' and 'password' those that it knows" in (told.error or "")
    assert "not-that-one" not in (told.error or "")


async def test_it_reads_over_tls_by_a_certificate(
    mqtt_listeners: Listeners, mqtt: str, topic: str
) -> None:
    key, certificate = mqtt_listeners.client
    tls = {"caCert": mqtt_listeners.authority, "cert": certificate, "key": key}
    async with read(f"mqtts://{mqtt_listeners.mtls}", topic, tls=tls) as run:
        await settled(run)
        await publish(mqtt, f"{topic}/x", b"1")
        [event] = await run.events(1)

    assert event.data == b"1"


@pytest.mark.parametrize(
    ("scheme", "listener", "said"),
    [
        ("mqtts", "tls", "'tls.caCert'"),
        ("mqtts", "mqtt", ""),
        ("mqtt", "tls", "does it expect TLS"),
    ],
)
async def test_tls_that_does_not_fit_is_said(
    mqtt_listeners: Listeners, topic: str, scheme: str, listener: str, said: str
) -> None:
    address = getattr(mqtt_listeners, listener)
    async with read(f"{scheme}://{address}", topic) as run:
        told = await run.until("unhealthy")

    assert (told.error or "").startswith(f"MQTT server {address}: ")
    assert said in (told.error or "")
