"""A MqttSource and a MqttSink in a real mesh: killed amid the messages, it loses none."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.mqtt import ServerOfTopics, client, keep_session
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.mqtt.server import PASSWORD, USER, Listeners
from tests.services.relay import Relay
from tests.services.subscribers import Request, Subscriber

MESSAGES = 600
DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.timeout(90)


def of_page(page: str, listeners: Listeners, **spec: object) -> str:
    """Return the page's manifest, for the test's server and topics."""
    text = (DOCS / page).read_text()
    documents: list[dict[str, Any]] = list(
        yaml.safe_load_all(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    )
    documents[0]["spec"] |= {"url": f"mqtts://{listeners.tls}", **spec}
    documents[0]["spec"]["tls"] = {"caCert": {"secretKeyRef": {"name": "mqtt", "key": "ca.crt"}}}
    return manifest(*map(json.dumps, documents))


def secret(listeners: Listeners) -> str:
    values = {"user": USER, "password": PASSWORD, "ca.crt": listeners.authority}
    metadata = {"name": "mqtt"}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
    )


async def publish(address: str, topic: str) -> None:
    """Publish all messages, for about two seconds."""
    async with client(address) as publisher:
        for number in range(MESSAGES):
            await publisher.publish(f"{topic}/{number % 3}", b"%d" % number, qos=1)
            await asyncio.sleep(0.002)


def numbers(requests: Sequence[Request]) -> set[int]:
    return {int(each.body) for each in requests}


async def test_killed_amid_the_messages_the_mesh_emits_and_publishes_all_of_them(
    running_mesh: Callable[..., RunningMesh], mqtt_listeners: Listeners, mqtt_relay: Relay
) -> None:
    address = mqtt_listeners.mqtt
    topic = f"e2e-source-{uuid.uuid4()}"
    keep_session(address, topic, f"{topic}/#")
    to = ServerOfTopics(address, mqtt_relay)
    async with Subscriber() as subscriber:
        text = manifest(
            broker(),
            steady(),
            secret(mqtt_listeners),
            of_page("sources/MqttSource.md", mqtt_listeners, topics=[f"{topic}/+"], clientId=topic),
            of_page("sinks/MqttSink.md", mqtt_listeners, topic=to.template),
            trigger("all", subscriber.url("/"), pauses=False),
        )
        async with running_mesh(text) as mesh:
            publishing = asyncio.create_task(publish(address, topic))
            await subscriber.received_at("/", 100, within=20)
            await mesh.kill9()
            before = numbers(subscriber.received)
            await mesh.start()
            await publishing
            async with asyncio.timeout(40):
                while len(numbers(subscriber.received)) < MESSAGES:
                    await asyncio.sleep(0.05)
            published: set[int] = set()
            while len(published) < MESSAGES:
                missing = MESSAGES - len(published)
                published |= {int(each.data or b"") for each in await to.arrived(missing)}
            status = await mesh.status()

    assert before < numbers(subscriber.received) == published == set(range(MESSAGES))
    [source] = status.sources
    assert (source.kind, source.name, source.state) == ("MqttSource", "default/sensors", "running")
