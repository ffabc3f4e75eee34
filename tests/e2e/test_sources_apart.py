"""A source that may run only once, in two processes: one runs it, and the other takes over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest
from tests.services.mesh import RunningMesh

SOON = 45.0
"""Seconds: a process that is killed is missed within 30 of them."""

pytestmark = pytest.mark.timeout(180)


def ping(name: str) -> str:
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    return json.dumps(
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "PingSource",
            "metadata": {"name": name},
            "spec": {"schedule": "* * * * * *", "sink": sink},
        }
    )


async def states(meshes: Sequence[RunningMesh], *wanted: str) -> Sequence[RunningMesh]:
    """Return the meshes in the order of these states of their source, once they are in them."""
    found: dict[str, RunningMesh] = {}
    async with asyncio.timeout(SOON):
        while set(found) != set(wanted):
            told = [(await each.status()).sources[0] for each in meshes]
            found = {each.state: mesh for each, mesh in zip(told, meshes, strict=True)}
            await asyncio.sleep(0.1)
    return [found[state] for state in wanted]


async def test_of_two_processes_one_pings_and_the_other_when_that_is_killed(
    tmp_path: Path, channel: str
) -> None:
    text = manifest(broker(), ping("tick"))
    environment = {"CEMESH_CHANNEL": channel}
    async with (
        RunningMesh(tmp_path / "one", text, part="sources", environment=environment) as one,
        RunningMesh(tmp_path / "two", text, part="sources", environment=environment) as two,
    ):
        runs, stands_by = await states([one, two], "running", "standby")
        before = (await runs.status()).brokers[0].accepted
        assert (await stands_by.status()).sources[0].emitted == 0

        await runs.kill9()
        async with asyncio.timeout(SOON):
            while (await stands_by.status()).sources[0].emitted < 2:
                await asyncio.sleep(0.1)

        status = await stands_by.status()
        assert (status.sources[0].state, status.sources[0].restarts) == ("running", 0)
        assert status.brokers[0].accepted >= before + 2
        await runs.start()
        assert await states([runs, stands_by], "standby", "running") == [runs, stands_by]
