"""S3Source and S3Sink in a real mesh, which is killed amid the objects."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from broker.codecs.json import decode_event
from tests.contract.s3 import content, keys, objects, put
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.s3.fixtures import GivenBucket
from tests.services.s3.server import ACCESS_KEY, SECRET_KEY
from tests.services.subscribers import Request, Subscriber

OBJECTS = 1_000

pytestmark = pytest.mark.timeout(90)


def uploads(bucket: GivenBucket) -> Sequence[str]:
    """Return a source that empties one prefix, and a sink that fills another, with its trigger."""

    def key(name: str) -> object:
        return {"secretKeyRef": {"name": "s3", "key": name}}

    access = {
        "endpoint": bucket.listeners.url,
        "bucket": bucket.name,
        "accessKeyId": key("id"),
        "secretAccessKey": key("secret"),
    }
    found: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3"},
            "stringData": {"id": ACCESS_KEY, "secret": SECRET_KEY},
        },
        {
            "apiVersion": "sources.cemesh.dev/v1alpha1",
            "kind": "S3Source",
            "metadata": {"name": "uploads"},
            "spec": {
                **access,
                "prefix": "in-",
                "interval": "PT0.1S",
                "content": "data",
                "afterwards": "delete",
                "sink": {"uri": "broker://default/default"},
            },
        },
        {
            "apiVersion": "sinks.cemesh.dev/v1alpha1",
            "kind": "S3Sink",
            "metadata": {"name": "archive"},
            "spec": {**access, "key": "out/{hash}"},
        },
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": "archive"},
            "spec": {
                "broker": "default",
                "subscriber": {
                    "ref": {
                        "apiVersion": "sinks.cemesh.dev/v1alpha1",
                        "kind": "S3Sink",
                        "name": "archive",
                    }
                },
            },
        },
    ]
    return [json.dumps(each) for each in found]


async def upload(bucket: GivenBucket) -> None:
    """Put all objects there, in about two seconds."""
    for first in range(0, OBJECTS, 20):
        numbers = range(first, first + 20)
        await asyncio.gather(*(put(bucket, f"in-{n}", str(n).encode()) for n in numbers))
        await asyncio.sleep(0.02)


def number_of(request: Request) -> int:
    return int(request.body)


async def test_killed_amid_the_objects_the_mesh_emits_all_of_them_and_stores_all_elsewhere(
    running_mesh: Callable[..., RunningMesh], s3_bucket: GivenBucket
) -> None:
    async with Subscriber() as subscriber:
        to = trigger("uploads", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), to, *uploads(s3_bucket))
        async with running_mesh(text) as mesh:
            uploading = asyncio.create_task(upload(s3_bucket))
            await subscriber.received_at("/", 200, within=30)
            await mesh.kill9()
            before = {number_of(each) for each in subscriber.received}
            await mesh.start()
            await uploading
            async with asyncio.timeout(40):
                while len({number_of(each) for each in subscriber.received}) < OBJECTS:
                    await asyncio.sleep(0.1)
                while await keys(s3_bucket, "in-") or len(await keys(s3_bucket, "out/")) < OBJECTS:
                    await asyncio.sleep(0.1)
            status = await mesh.status()
        stored = await asyncio.gather(
            *(content(s3_bucket, each) for each in await objects(s3_bucket, "out/"))
        )

    found: dict[str, set[int]] = defaultdict(set)
    for each in subscriber.received:
        found[each.header("ce-id") or ""].add(number_of(each))
    assert len(before) < OBJECTS
    assert len(found) == OBJECTS
    assert {number for numbers in found.values() for number in numbers} == set(range(OBJECTS))
    assert {int(decode_event(each).data or b"") for each in stored} == set(range(OBJECTS))
    [source] = status.sources
    assert (source.kind, source.state) == ("S3Source", "running")
