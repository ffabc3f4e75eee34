"""What a scrape of a mesh in several processes tells, while these come and go."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from broker.admin.models import StatusDocument
from tests.e2e.feeds import CALLED, feed
from tests.e2e.manifests import broker, manifest, trigger
from tests.e2e.scrapes import scraped
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber

BROKER = "default/default"
SOON = 60.0
COUNTED = re.compile("^cemesh_.*_(total|bucket|count|sum)$")

pytestmark = pytest.mark.timeout(240)


async def test_no_counter_goes_down_where_workers_are_killed_and_come_back(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(CALLED)
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("all", subscriber.url("/all")), feed())
        mesh = RunningMesh(tmp_path / "mesh", text, cwd=tmp_path, arguments=("--workers", "3"))
        async with mesh:
            watching = asyncio.create_task(never_going_down(mesh))
            sent = 0
            for victim in (1, 2, 1, None):
                for _ in range(6):  # each by a connection of its own, to the next process
                    assert (await mesh.request("POST", f"/{BROKER}", body=b"?")).status == 400
                    assert (await mesh.request("POST", "/sources/default/feed")).status == 202
                sent += 6
                await until_counted(mesh, sent)
                if victim is not None:
                    await replaced(mesh, victim)
            assert not watching.done(), watching.exception()
            watching.cancel()


async def until_counted(mesh: RunningMesh, number: int) -> None:
    """Return once a scrape tells of so many of everything, and not of more."""
    names = ("refused_requests", "accepted_events", "source_emitted_events", "delivered_events")
    found: Sequence[float] = []
    async with asyncio.timeout(SOON):
        while list(found) != [number] * len(names):
            scrape = await scraped(mesh)
            found = [scrape.sum(f"cemesh_{name}_total") for name in names]
            assert all(each <= number for each in found), found


async def replaced(mesh: RunningMesh, victim: int) -> None:
    """Kill a worker, and return once another process does its work."""

    def pid(status: StatusDocument) -> int | None:
        return status.workers[victim].pid

    before = pid(await mesh.status())
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await mesh.until(lambda status: pid(status) not in {None, before})


async def never_going_down(mesh: RunningMesh) -> None:
    """Scrape again and again until cancelled, and fail where a counter is less than before."""
    before: Mapping[tuple[str, frozenset[tuple[str, str]]], float] = {}
    while True:
        scrape = await scraped(mesh)
        for series, value in before.items():
            if COUNTED.search(series[0]):
                assert scrape.values.get(series, -1) >= value, series
        before = scrape.values
