"""HttpPollerSource and WebSocketSource in a real mesh, which is killed amid what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.contract.web import JSON, WebSocketServer, listed
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Answer, Request, Subscriber, reply
from tests.unit.meshes import until

ELEMENTS = 2_000

pytestmark = pytest.mark.timeout(60)


def source(kind: str, **spec: object) -> str:
    return json.dumps(
        {
            "apiVersion": "sources.cemesh.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": "orders"},
            "spec": {**spec, "sink": {"uri": "broker://default/default"}},
        }
    )


def ids(subscriber: Subscriber) -> list[str]:
    return [each.header("ce-id") or "" for each in subscriber.received]


async def test_killed_amid_the_answers_the_mesh_emits_every_element_with_its_id(
    running_mesh: Callable[..., RunningMesh],
) -> None:
    asked = 0

    def growing(_: Request) -> Answer:
        nonlocal asked
        asked += 1
        return reply(200, JSON, listed(*range(min(asked * 40, ELEMENTS))))

    async with Subscriber() as server, Subscriber() as subscriber:
        url = server.answers("/orders", growing)
        spec = {"url": url, "interval": "PT0.01S", "items": "data.list", "itemId": "id"}
        to = trigger("orders", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), to, source("HttpPollerSource", **spec))
        async with running_mesh(text) as mesh:
            await subscriber.received_at("/", 300)
            await mesh.kill9()
            before = {*ids(subscriber)}
            await mesh.start()
            await until(lambda: {*ids(subscriber)} >= {*map(str, range(ELEMENTS))})
            status = await mesh.status()

    assert len(before) < ELEMENTS
    assert {*ids(subscriber)} == {*map(str, range(ELEMENTS))}
    assert {json.loads(each.body)["id"] for each in subscriber.received} == {*range(ELEMENTS)}
    [told] = status.sources
    assert (told.kind, told.state) == ("HttpPollerSource", "running")


async def test_what_a_websocket_server_has_sent_is_delivered_and_after_a_crash_it_connects_again(
    running_mesh: Callable[..., RunningMesh],
) -> None:
    async with WebSocketServer() as server, Subscriber() as subscriber:
        to = trigger("orders", subscriber.url("/"), pauses=False)
        spec = {"url": server.url, "subscribe": ["orders"], "idFrom": "n"}
        text = manifest(broker(), steady(), to, source("WebSocketSource", **spec))
        async with running_mesh(text) as mesh:
            await server.send(*(json.dumps({"n": number}) for number in range(500)))
            await until(lambda: len({*ids(subscriber)}) == 500)
            await mesh.kill9()
            await mesh.start()
            await until(lambda: len(server.heard) == 2)
            await server.send(*(json.dumps({"n": number}) for number in range(500, 600)))
            await until(lambda: len({*ids(subscriber)}) == 600)
            await asyncio.gather(*(each.wait_closed() for each in server.connections[:1]))
            status = await mesh.status()

    assert {*ids(subscriber)} == {*map(str, range(600))}
    assert server.heard == ["orders", "orders"]
    [told] = status.sources
    assert (told.kind, told.state) == ("WebSocketSource", "running")
