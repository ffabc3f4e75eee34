"""A KafkaSink in a real mesh, which reads back what it stores: killed amid it, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest

from broker.event import Event
from tests.e2e.manifests import DELIVERY_POLICY, ORDER, broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.relay import Relay
from tests.services.subscribers import Subscriber

EVENTS = 600
KEYS = 7

pytestmark = pytest.mark.timeout(90)


def there_and_back(there: str, kafka: str, topic: str) -> Sequence[str]:
    """Return a sink, the trigger that leads to it, and a source that emits into another broker."""
    sink = {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "KafkaSink",
        "metadata": {"name": "orders"},
        "spec": {
            "bootstrapServers": [there],
            "topic": topic,
            "numPartitions": 3,
            "replicationFactor": 1,
        },
    }
    to_sink = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {
            "name": "there",
            "annotations": {ORDER: "ordered", DELIVERY_POLICY: "steady"},
        },
        "spec": {
            "broker": "default",
            "subscriber": {
                "ref": {"apiVersion": sink["apiVersion"], "kind": "KafkaSink", "name": "orders"}
            },
            "delivery": {"retry": 20, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"},
        },
    }
    source = {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "KafkaSource",
        "metadata": {"name": "orders"},
        "spec": {
            "bootstrapServers": [kafka],
            "topics": [topic],
            "consumerGroup": topic,
            "initialOffset": "earliest",
            "sink": {"uri": "broker://default/back"},
        },
    }
    return [json.dumps(each) for each in (sink, to_sink, source)]


def numbered(number: int) -> Event:
    attributes = {
        "specversion": "1.0",
        "id": f"{number}",
        "source": "/shop",
        "type": "order",
        "partitionkey": f"k{number % KEYS}",
        "datacontenttype": "application/json",
    }
    return Event.checked(attributes, b'{"n": %d.0}' % number)


async def test_killed_amid_the_events_the_mesh_stores_all_of_them_in_the_order_of_each_key(
    running_mesh: Callable[..., RunningMesh], kafka: str, kafka_relay: Relay
) -> None:
    topic = f"e2e-sink-{uuid.uuid4()}"
    async with Subscriber() as subscriber:
        to = trigger("back", subscriber.url("/"), broker="back", ordered=True, pauses=False)
        way = there_and_back(kafka_relay.address, kafka, topic)
        text = manifest(broker(), broker("back"), steady(), to, *way)
        async with running_mesh(text) as mesh:
            with kafka_relay.cut():  # so that they are all there when it is killed
                events = [numbered(n) for n in range(EVENTS)]
                statuses = await mesh.send_all("default/default", events, at_once=1)
            await subscriber.received_at("/", 50, within=30)
            await mesh.kill9()
            before = {each.header("ce-id") for each in subscriber.received}
            await mesh.start()
            async with asyncio.timeout(40):
                while len({each.header("ce-id") for each in subscriber.received}) < EVENTS:
                    await asyncio.sleep(0.1)

    firsts: dict[int, list[int]] = defaultdict(list)
    for each in list(subscriber.received):
        number = int(each.header("ce-id") or "")
        assert each.body == b'{"n": %d.0}' % number
        assert each.header("ce-partitionkey") == f"k{number % KEYS}"
        if number not in firsts[number % KEYS]:
            firsts[number % KEYS].append(number)
    assert statuses == [202] * EVENTS
    assert len(before) < EVENTS
    assert all(found == sorted(found) for found in firsts.values())
    assert sum(map(len, firsts.values())) == EVENTS
