"""RabbitmqSource and RabbitmqSink in a real mesh, which is killed amid the messages."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence

import pytest
from pamqp.commands import Basic

from tests.contract.rabbitmq import client
from tests.contract.rabbitmq_queues import access, declare, taken, waiting
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Request, Subscriber

MESSAGES = 1_000

pytestmark = pytest.mark.timeout(90)


def queues(url: str, queue: str, copies: str) -> Sequence[str]:
    """Return a source that reads the one queue, and a sink and its trigger to the other."""
    said = access(url)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "rabbitmq"},
        "stringData": {name: said[name] for name in ("user", "password")},
    }
    server = {
        "url": said["url"],
        "user": {"secretKeyRef": {"name": "rabbitmq", "key": "user"}},
        "password": {"secretKeyRef": {"name": "rabbitmq", "key": "password"}},
    }
    source = {
        "apiVersion": "sources.knative.dev/v1alpha1",
        "kind": "RabbitmqSource",
        "metadata": {"name": "orders"},
        "spec": {
            **server,
            "rabbitmqResourcesConfig": {"queueName": queue, "predeclared": True},
            "sink": {"uri": "broker://default/default"},
        },
    }
    sink = {
        "apiVersion": "sinks.cemesh.dev/v1alpha1",
        "kind": "RabbitmqSink",
        "metadata": {"name": "copies"},
        "spec": {**server, "routingKey": copies},
    }
    ref = {"apiVersion": sink["apiVersion"], "kind": sink["kind"], "name": "copies"}
    to_sink = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "copies"},
        "spec": {"broker": "default", "subscriber": {"ref": ref}},
    }
    return [json.dumps(each) for each in (secret, source, sink, to_sink)]


async def publish(url: str, queue: str) -> None:
    """Publish all messages, each with its number as its id."""
    async with client(url) as channel:
        for number in range(MESSAGES):
            properties = Basic.Properties(delivery_mode=2, message_id=str(number))
            await channel.basic_publish(b"%d" % number, routing_key=queue, properties=properties)


def numbers(received: Sequence[Request]) -> set[int]:
    return {int(each.body) for each in received}


async def test_killed_amid_the_messages_the_mesh_emits_all_of_them_and_copies_all_to_another_queue(
    running_mesh: Callable[..., RunningMesh], rabbitmq: str
) -> None:
    queue, copies = f"e2e-{uuid.uuid4()}", f"e2e-{uuid.uuid4()}"
    await declare(rabbitmq, queue)
    await declare(rabbitmq, copies)
    async with Subscriber() as subscriber:
        to = trigger("orders", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), to, *queues(rabbitmq, queue, copies))
        async with running_mesh(text) as mesh:
            publishing = asyncio.create_task(publish(rabbitmq, queue))
            await subscriber.received_at("/", 150, within=30)
            await mesh.kill9()
            before = numbers(subscriber.received)
            await mesh.start()
            await publishing
            async with asyncio.timeout(40):
                while len(numbers(subscriber.received)) < MESSAGES:
                    await asyncio.sleep(0.05)
                copied: set[int] = set()
                while len(copied) < MESSAGES:
                    found = await taken(rabbitmq, copies, MESSAGES - len(copied))
                    copied |= {int(body) for _, body in found}
                while await waiting(rabbitmq, queue):
                    await asyncio.sleep(0.05)
            status = await mesh.status()

    assert len(before) < MESSAGES
    assert numbers(subscriber.received) == copied == set(range(MESSAGES))
    assert all(each.header("ce-id") == each.body.decode() for each in subscriber.received)
    [source] = status.sources
    assert (source.kind, source.state) == ("RabbitmqSource", "running")
