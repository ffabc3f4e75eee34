"""An ApiServerSource in a real mesh, which is killed while the objects of a cluster change."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.apiserver import ApiServer
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Request, Subscriber

OBJECTS = 600

pytestmark = pytest.mark.timeout(90)


def objects(server: ApiServer, folder: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "ApiServerSource",
            "metadata": {"name": "objects"},
            "spec": {
                "mode": "Resource",
                "resources": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "kubeconfig": str(server.kubeconfig(folder)),
                "sink": {"uri": "broker://default/default"},
            },
        }
    )


async def change(server: ApiServer) -> dict[str, str]:
    """Add and delete objects for about three seconds, and return which id tells of which change."""
    ids: dict[str, str] = {}
    for number in range(OBJECTS):
        added = server.put("configmaps", f"thing-{number}")["metadata"]
        ids[f"{added['uid']}/{added['resourceVersion']}/add"] = f"add {number}"
        if number % 100 == 99:
            server.end_watches()
        if number % 100 == 50:
            server.end_watches()
        if number % 10 == 9:
            server.delete("configmaps", f"thing-{number}")
            await asyncio.sleep(0.05)
    return ids


def told(request: Request) -> str:
    fate = (request.header("ce-type") or "").rpartition(".")[2]
    return f"{fate} {(request.header('ce-name') or '').removeprefix('thing-')}"


async def test_killed_amid_the_changes_the_mesh_tells_of_all_of_them(
    running_mesh: Callable[..., RunningMesh], tmp_path: Path
) -> None:
    wanted = {f"add {number}" for number in range(OBJECTS)}
    wanted |= {f"delete {number}" for number in range(9, OBJECTS, 10)}
    async with ApiServer() as server, Subscriber() as subscriber:
        to = trigger("objects", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), objects(server, tmp_path), to)
        async with running_mesh(text) as mesh:
            async with asyncio.timeout(30):
                while not server.watches:  # what is gone before that, nobody can know of
                    await asyncio.sleep(0.01)
            changing = asyncio.create_task(change(server))
            await subscriber.received_at("/", 100, within=30)
            await mesh.kill9()
            before = set(map(told, subscriber.received))
            await mesh.start()
            ids = await changing
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
