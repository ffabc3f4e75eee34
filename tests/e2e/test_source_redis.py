"""RedisStreamSource and RedisStreamSink in a real mesh, which is killed amid the entries."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest

from broker.connections.redis import RedisSpec, connected
from tests.contract.redis_streams import events_in, until_acknowledged
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Request, Subscriber

ENTRIES = 2_000

pytestmark = pytest.mark.timeout(90)


def streams(url: str, stream: str, copies: str) -> Sequence[str]:
    """Return a source that reads the one stream, and a sink and its trigger to the other."""
    source = {
        "apiVersion": "sources.cemesh.dev/v1alpha1",
        "kind": "RedisStreamSource",
        "metadata": {"name": "orders"},
        "spec": {
            "url": url,
            "stream": stream,
            "group": "g",
            "startAt": "beginning",
            "claimAfter": "PT0.5S",
            "sink": {"uri": "broker://default/default"},
        },
    }
    sink = {
        "apiVersion": "sinks.cemesh.dev/v1alpha1",
        "kind": "RedisStreamSink",
        "metadata": {"name": "copies"},
        "spec": {"url": url, "stream": copies},
    }
    ref = {"apiVersion": sink["apiVersion"], "kind": sink["kind"], "name": "copies"}
    to_sink = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "copies"},
        "spec": {"broker": "default", "subscriber": {"ref": ref}},
    }
    return [json.dumps(each) for each in (source, sink, to_sink)]


async def add(url: str, stream: str) -> dict[str, int]:
    """Add all entries, for about two seconds, and return the number of each by its id."""
    ids: list[bytes] = []
    async with connected(RedisSpec.model_validate({"url": url})) as redis:
        while len(ids) < ENTRIES:
            pipeline = redis.pipeline(transaction=False)
            for number in range(len(ids), len(ids) + 20):
                pipeline.execute_command("XADD", stream, "*", "n", number)
            ids += await pipeline.execute()
            await asyncio.sleep(0.02)
    return {each.decode(): number for number, each in enumerate(ids)}


def number_of(request: Request) -> int:
    return int(json.loads(request.body)["n"])


async def test_killed_amid_the_entries_the_mesh_emits_all_of_them_and_adds_all_to_another_stream(
    running_mesh: Callable[..., RunningMesh], redis_url: str
) -> None:
    stream, copies = f"e2e-{uuid.uuid4()}", f"e2e-{uuid.uuid4()}"
    async with Subscriber() as subscriber:
        to = trigger("orders", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), to, *streams(redis_url, stream, copies))
        async with running_mesh(text) as mesh:
            adding = asyncio.create_task(add(redis_url, stream))
            await subscriber.received_at("/", 300, within=30)
            await mesh.kill9()
            before = {number_of(each) for each in subscriber.received}
            await mesh.start()
            ids = await adding
            async with asyncio.timeout(40):
                while len({number_of(each) for each in subscriber.received}) < ENTRIES:
                    await asyncio.sleep(0.1)
                await until_acknowledged(redis_url, stream)
                while len({each.id for each in await events_in(redis_url, copies)}) < ENTRIES:
                    await asyncio.sleep(0.1)
            status = await mesh.status()

    found: dict[str, set[int]] = defaultdict(set)
    for each in subscriber.received:
        found[each.header("ce-id") or ""].add(number_of(each))
    assert len(before) < ENTRIES
    assert found == {each: {number} for each, number in ids.items()}
    assert {each.id for each in await events_in(redis_url, copies)} == set(ids)
    [source] = status.sources
    assert (source.kind, source.state) == ("RedisStreamSource", "running")
