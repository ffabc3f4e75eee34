"""ContainerSource in a real mesh: its program and the mesh are killed, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.admin.models import SourceDocument, StatusDocument
from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.timeout(120)

# Posts event after event, writes down which were answered 202, and goes on after that at its next
# start. Connects anew each time, as one that knows nothing of the mesh would.
PROGRAM = """
import json, os, pathlib, time, urllib.error, urllib.request

extensions = json.loads(os.environ["K_CE_OVERRIDES"])["extensions"]
done = pathlib.Path("done")
pathlib.Path("pid").write_text(str(os.getpid()))
number = len(done.read_text().splitlines()) if done.exists() else 0
while True:
    headers = {"ce-specversion": "1.0", "ce-id": str(number), "ce-source": "/numbers",
               "ce-type": "com.example.number"} | {f"ce-{k}": v for k, v in extensions.items()}
    request = urllib.request.Request(os.environ["K_SINK"], str(number).encode(), headers)
    assert urllib.request.urlopen(request).status == 202
    with done.open("a") as file:
        file.write(f"{number}\\n")
    number += 1
    time.sleep(0.01)
"""


def numbers(folder: Path) -> str:
    container = {
        "image": "example.com/numbers",
        "command": [sys.executable, "-c", PROGRAM],
        "workingDir": str(folder),
    }
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    return json.dumps(
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "ContainerSource",
            "metadata": {"name": "numbers"},
            "spec": {
                "sink": sink,
                "ceOverrides": {"extensions": {"team": "counting"}},
                "template": {"spec": {"containers": [container]}},
            },
        }
    )


def posted(folder: Path) -> int:
    """Return how many events the program has been told to be durable."""
    done = folder / "done"
    return len(done.read_text().splitlines()) if done.exists() else 0


def source(status: StatusDocument) -> SourceDocument:
    (only,) = status.sources
    return only


async def until(holds: Callable[[], bool], *, within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_nothing_posted_is_lost_when_the_program_and_the_mesh_are_killed(
    running_mesh: Callable[..., RunningMesh], tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        description = manifest(broker(), trigger("all", subscriber.url("/")), numbers(tmp_path))
        async with running_mesh(description) as mesh:
            await until(lambda: posted(tmp_path) >= 20)
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            killed = await mesh.until(lambda status: source(status).state == "restarting")
            before = posted(tmp_path)
            await until(lambda: posted(tmp_path) >= before + 20)

            pid = int((tmp_path / "pid").read_text())
            await mesh.kill9()
            await until(lambda: not alive(pid))
            before = posted(tmp_path)
            await mesh.start()
            await until(lambda: posted(tmp_path) >= before + 20)
            wanted = {str(number) for number in range(posted(tmp_path))}
            requests = subscriber.received
            await until(lambda: wanted <= {each.header("ce-id") for each in requests})

            pid = int((tmp_path / "pid").read_text())
            await mesh.terminate()
            assert not alive(pid)

    assert (source(killed).error or "").endswith("was killed by SIGKILL")
    assert {each.header("ce-team") for each in requests} == {"counting"}
    assert all(each.header("ce-id") == each.body.decode() for each in requests)
