"""A JobSink in a real mesh: killed amid its jobs, it takes them along and runs them again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.e2e.manifests import broker, event, manifest
from tests.services.mesh import RunningMesh

SINKS = "sinks.knative.dev/v1alpha1"
JOBS = 12

# Those with an even number go on until they are allowed to end, and take their time when told to.
# They write nothing: with the mesh, who reads it is gone.
SCRIPT = """
exec >/dev/null 2>&1
trap 'sleep 1.5; touch ended-$CE_ID; exit 1' TERM
if [ -e begun-$CE_ID ] && ! [ -e ended-$CE_ID ]; then echo $CE_ID >>two-at-a-time; fi
touch begun-$CE_ID
echo $CE_ID >>begun
case $CE_ID in *[02468]) while ! [ -e go ]; do sleep 0.02; done; esac
echo $CE_ID >>done
"""


def job_sink(folder: Path) -> str:
    container = {
        "command": ["sh", "-c", SCRIPT],
        "workingDir": str(folder),
    }
    spec = {"job": {"spec": {"template": {"spec": {"containers": [container]}}}}}
    return json.dumps(
        {
            "apiVersion": SINKS,
            "kind": "JobSink",
            "metadata": {"name": "work"},
            "spec": {**spec, "folder": str(folder / "jobs"), "concurrency": JOBS},
        }
    )


def trigger() -> str:
    ref = {"apiVersion": SINKS, "kind": "JobSink", "name": "work"}
    annotations = {"rabbitmq.eventing.knative.dev/parallelism": str(JOBS)}
    return json.dumps(
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": "work", "annotations": annotations},
            "spec": {"broker": "default", "subscriber": {"ref": ref}},
        }
    )


async def until(holds: Callable[[], bool], *, within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_jobs_end_with_a_mesh_that_is_killed_and_only_those_are_run_again(
    tmp_path: Path,
) -> None:
    text = manifest(broker(), job_sink(tmp_path), trigger())
    async with RunningMesh(tmp_path / "mesh", text) as mesh:
        for number in range(JOBS):
            assert await mesh.send("default/default", event(str(number))) == 202
        await until(lambda: len(lines(tmp_path / "begun")) == JOBS)
        await mesh.until(lambda status: status.brokers[0].triggers[0].delivered == JOBS // 2)
        await mesh.kill9()
        await mesh.start()  # while those that it ran have not ended yet
        await until(lambda: len(list(tmp_path.glob("ended-*"))) == JOBS // 2)
        (tmp_path / "go").touch()
        await mesh.until(lambda status: status.brokers[0].triggers[0].waiting == 0)

    numbers = {str(number) for number in range(JOBS)}
    assert Counter(lines(tmp_path / "begun")) == {
        number: 2 if int(number) % 2 == 0 else 1 for number in numbers
    }
    assert Counter(lines(tmp_path / "done")) == dict.fromkeys(numbers, 1)
    assert lines(tmp_path / "two-at-a-time") == []
