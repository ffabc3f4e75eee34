"""An MQTT server as others see it: what they publish, what they get, and sessions kept for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.connections.mqtt import MqttAccess, connected, event_of
from broker.event import Event
from sinks.mqtt import MqttSink, MqttSinkSpec
from sources.mqtt import MqttSource, MqttSpec
from tests.services.relay import Relay

_KEPT: Final = 600


@asynccontextmanager
async def client(address: str, **options: Any) -> AsyncIterator[aiomqtt.Client]:  # noqa: ANN401 - aiomqtt's own
    host, _, port = address.rpartition(":")
    protocol = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client(host, int(port), protocol=protocol, **options) as found:
        yield found


async def publish(
    address: str,
    topic: str,
    *payloads: bytes,
    content_type: str | None = None,
    user: Sequence[tuple[str, str]] = (),
    retain: bool = False,
) -> None:
    """Publish with QoS 1, and return once the server has it all."""
    told = properties(PacketTypes.PUBLISH)
    if content_type is not None:
        told.ContentType = content_type
    if user:
        told.UserProperty = list(user)
    async with client(address) as publisher:
        for payload in payloads:
            await publisher.publish(topic, payload, qos=1, retain=retain, properties=told)


def kept() -> Properties:
    """Return what a client says that wants its session kept."""
    told = properties(PacketTypes.CONNECT)
    told.SessionExpiryInterval = _KEPT
    return told


def properties(of: int) -> Properties:
    return Properties(of)  # type: ignore[no-untyped-call] # paho has types but here


def keep_session(address: str, identifier: str, topic: str) -> None:
    """Have the server keep, from now on, what is published there, for the client of that name."""
    host, _, port = address.rpartition(":")
    one = PahoClient(CallbackAPIVersion.VERSION2, identifier, protocol=MQTTv5)
    one.on_connect = lambda *_: one.subscribe(topic, qos=1)  # type: ignore[assignment] # no answer
    one.on_subscribe = lambda *_: one.disconnect()  # type: ignore[assignment] # is awaited
    one.connect(host, int(port), clean_start=False, properties=kept())
    one.loop_forever(retry_first_connection=False)


class TopicOfAServer:
    """A topic that a number is published to for each thing."""

    tells_apart = False  # MQTT has no ids

    def __init__(self, address: str) -> None:
        self._address = address
        self._topic = f"source-{uuid.uuid4()}"
        keep_session(address, self._topic, f"{self._topic}/#")
        self.source: object = MqttSource
        self.spec: object = MqttSpec.model_validate(
            {"url": address, "topics": [f"{self._topic}/#"], "clientId": self._topic}
        )

    async def bring(self, number: int) -> None:
        await publish(self._address, f"{self._topic}/x", b"%d" % number)

    def number_of(self, event: Event) -> int:
        return int(event.data or b"")


class ServerOfTopics:
    """A topic that events are published to, on a way that can be cut."""

    def __init__(self, address: str, relay: Relay) -> None:
        self._address, self._relay = address, relay
        self._topic = f"sink-{uuid.uuid4()}"
        keep_session(address, self._topic, f"{self._topic}/#")
        self.template: Final = f"{self._topic}/{{type}}"
        self.sink: object = MqttSink
        self.spec: object = MqttSinkSpec.model_validate(
            {"url": relay.address, "topic": self.template}
        )

    async def arrived(self, count: int) -> Sequence[Event]:
        found: list[Event] = []
        access, kept_for = MqttAccess(url=self._address), timedelta(seconds=_KEPT)
        async with asyncio.timeout(30):
            async with connected(access, identifier=self._topic, kept_for=kept_for) as reader:
                while len(found) < count:
                    messages = await reader.received()
                    reader.acknowledge(messages)
                    found += [event_of(each, "/told") for each in messages]
        return found

    @contextmanager
    def outage(self) -> Iterator[None]:
        with self._relay.cut():
            yield
