"""An ApiServerSource in a real mesh, which is killed while the objects of a cluster change."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.kubernetes.client import Kubernetes
from tests.services.mesh import RunningMesh
from tests.services.relay import Relay
from tests.services.subscribers import Request, Subscriber

OBJECTS = 300

pytestmark = pytest.mark.timeout(90)


def objects(kubeconfig: Path, namespace: str) -> str:
    return json.dumps(
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "ApiServerSource",
            "metadata": {"name": "objects", "namespace": namespace},
            "spec": {
                "mode": "Resource",
                "resources": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "kubeconfig": str(kubeconfig),
                "sink": {"uri": "broker://default/default"},
            },
        }
    )


def change(kubernetes: Kubernetes, namespace: str, numbers: Iterable[int]) -> dict[str, str]:
    """Add and delete these objects, and return which id tells of which addition."""
    ids: dict[str, str] = {}
    for number in numbers:
        thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"thing-{number}"}}
        added = kubernetes.create(thing, namespace)["metadata"]
        ids[f"{added['uid']}/{added['resourceVersion']}/add"] = f"add {number}"
        if number % 10 == 9:
            kubernetes.delete("ConfigMap", f"thing-{number}", namespace)
    return ids


def told(request: Request) -> str:
    fate = (request.header("ce-type") or "").rpartition(".")[2]
    return f"{fate} {(request.header('ce-name') or '').removeprefix('thing-')}"


async def test_killed_amid_the_changes_the_mesh_tells_of_all_of_them(
    running_mesh: Callable[..., RunningMesh], kubernetes: Kubernetes, kubernetes_relay: Relay
) -> None:
    wanted = {f"add {number}" for number in range(OBJECTS)}
    wanted |= {f"delete {number}" for number in range(9, OBJECTS, 10)}
    namespace = kubernetes.namespace()
    way = kubernetes.kubeconfig(url=kubernetes_relay.in_url(kubernetes.url))
    async with Subscriber() as subscriber:
        to = trigger("objects", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), objects(way, namespace), to)
        async with running_mesh(text) as mesh:
            # What is gone before it is watched, nobody can know of.
            ids = change(kubernetes, namespace, range(1))
            await subscriber.received_at("/", 1, within=30)
            numbers = range(1, OBJECTS)
            changing = asyncio.create_task(
                asyncio.to_thread(change, kubernetes, namespace, numbers)
            )
            await subscriber.received_at("/", 50, within=30)
            with kubernetes_relay.cut():  # the watch ends amid what it tells
                pass
            await subscriber.received_at("/", 100, within=30)
            await mesh.kill9()
            before = set(map(told, subscriber.received))
            await mesh.start()
            ids |= await changing
            async with asyncio.timeout(40):
                while not set(map(told, subscriber.received)) >= wanted:
                    await asyncio.sleep(0.1)
            status = await mesh.status()

    found: dict[str, set[str]] = defaultdict(set)
    for each in subscriber.received:
        found[told(each)].add(each.header("ce-id") or "")
    assert before < wanted == found.keys()
    assert all(len(each) == 1 for each in found.values())
    assert all(found[what] == {each} for each, what in ids.items())
    [source] = status.sources
    assert (source.kind, source.state) == ("ApiServerSource", "running")
