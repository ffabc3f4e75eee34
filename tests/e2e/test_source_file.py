"""A FileSource in a real mesh: killed while a file is written and rotated, it loses no line."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Request, Subscriber

LINES = 3_000
EACH_FILE = 400

pytestmark = pytest.mark.timeout(60)


def file_source(path: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "sources.cemesh.dev/v1alpha1",
            "kind": "FileSource",
            "metadata": {"name": "orders"},
            "spec": {
                "path": str(path),
                "format": "json",
                "type": "com.example.order",
                "sink": {"uri": "broker://default/default"},
            },
        }
    )


async def write(folder: Path) -> None:
    """Write all lines, in pieces, and rotate the file again and again."""
    log = folder / "orders.jsonl"
    for number in range(LINES):
        line = b'{"n": %d, "text": "\xc3\xa4"}\n' % number
        with log.open("ab") as file:
            file.write(line[:-4])
            file.flush()
            if number % 10 == 0:
                await asyncio.sleep(0.005)
            file.write(line[-4:])
        if number % EACH_FILE == EACH_FILE - 1:
            log.rename(folder / f"orders-{number}.jsonl")


def ids_by_line(requests: list[Request]) -> dict[int, set[tuple[str | None, bytes]]]:
    """Return the ids that each line has come with, and its bytes."""
    found: dict[int, set[tuple[str | None, bytes]]] = defaultdict(set)
    for each in requests:
        found[json.loads(each.body)["n"]].add((each.header("ce-id"), each.body))
    return found


async def test_killed_twice_the_mesh_emits_every_line_of_files_that_are_rotated(
    running_mesh: Callable[..., RunningMesh], tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    async with Subscriber() as subscriber:
        sent_to = trigger("orders", subscriber.url("/"), pauses=False)
        text = manifest(broker(), steady(), file_source(folder / "orders*.jsonl"), sent_to)
        async with running_mesh(text) as mesh:
            writing = asyncio.create_task(write(folder))
            for progress in (300, 1_200):
                await subscriber.received_at("/", progress)
                await mesh.kill9()
                await asyncio.sleep(0.3)  # in which lines are written that nobody reads
                await mesh.start()
            await writing
            async with asyncio.timeout(30):
                while len(ids_by_line(subscriber.received)) < LINES:
                    await asyncio.sleep(0.1)

    lines = ids_by_line(subscriber.received)
    assert sorted(lines) == list(range(LINES))
    assert all(len(found) == 1 for found in lines.values()), "what repeats has its id and bytes"
    assert len({each.header("ce-id") for each in subscriber.received}) == LINES
    assert lines[7].pop()[1] == b'{"n": 7, "text": "\xc3\xa4"}'
