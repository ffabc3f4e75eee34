"""A DirectorySource in a real mesh: killed while files are put there, it tells of each of them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber

FILES = 400

pytestmark = pytest.mark.timeout(60)


def source(path: Path, more: Mapping[str, object]) -> str:
    return json.dumps(
        {
            "apiVersion": "sources.cemesh.dev/v1alpha1",
            "kind": "DirectorySource",
            "metadata": {"name": "orders"},
            "spec": {
                "path": str(path),
                "pattern": "*.csv",
                "interval": "PT0.1S",
                "settledFor": "PT0S",
                "content": "data",
                **more,
                "sink": {"uri": "broker://default/default"},
            },
        }
    )


async def put_all(folder: Path) -> None:
    """Put all files there, each whole, in a second or so."""
    for number in range(FILES):
        unfinished = folder / "next.tmp"
        unfinished.write_text(f"{number}")
        unfinished.rename(folder / f"{number}.csv")
        await asyncio.sleep(0.003)


def in_the(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


@pytest.mark.parametrize("afterwards", ["keep", "move"])
async def test_killed_amid_the_files_the_mesh_tells_of_each_of_them(
    running_mesh: Callable[..., RunningMesh], tmp_path: Path, afterwards: str
) -> None:
    folder, done = tmp_path / "in", tmp_path / "done"
    folder.mkdir()
    more = {"afterwards": afterwards, **({"moveTo": str(done)} if afterwards == "move" else {})}
    async with Subscriber() as subscriber:
        to = trigger("orders", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), source(folder, more), to)
        async with running_mesh(text) as mesh:
            putting = asyncio.create_task(put_all(folder))
            await subscriber.received_at("/", FILES // 4)
            await mesh.kill9()
            await mesh.start()
            await putting
            ids: dict[str, set[str | None]] = defaultdict(set)
            async with asyncio.timeout(30):
                while len(ids) < FILES:
                    await asyncio.sleep(0.05)
                    for each in subscriber.received:
                        ids[each.body.decode()].add(each.header("ce-id"))
                while afterwards == "move" and in_the(folder):
                    await asyncio.sleep(0.05)

    assert sorted(ids, key=int) == [f"{number}" for number in range(FILES)]
    assert all(len(found) == 1 for found in ids.values()), "what comes again has its id"
    kept = done if afterwards == "move" else folder
    assert in_the(kept) == {f"{number}.csv" for number in range(FILES)}
