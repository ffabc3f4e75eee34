"""What `cemesh explain` says of an event is what the mesh did with it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

ORDER = {
    "ce-specversion": "1.0",
    "ce-id": "1042",
    "ce-source": "/shop",
    "ce-type": "order",
    "ce-subject": "caf%C3%A9",
    "Content-Type": "application/json",
}

pytestmark = pytest.mark.timeout(120)


async def explain(mesh: RunningMesh, *arguments: str | Path) -> str:
    """Run ``cemesh explain`` against the mesh and return what it prints."""

    def run() -> subprocess.CompletedProcess[str]:
        command = (CEMESH, "explain", *arguments, "--admin-port", str(mesh.admin_port))
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 0, ended
    return ended.stdout


def as_for_curl(headers: Mapping[str, str]) -> Sequence[str]:
    return [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]


async def test_an_event_goes_where_it_was_explained_to_go(
    running_mesh: Meshes, tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        orders = trigger("orders", subscriber.url("/orders"), type="order")
        refunds = trigger("refunds", subscriber.url("/refunds"), type="refund")
        async with running_mesh(manifest(broker(), orders, refunds)) as mesh:
            given = (*as_for_curl(ORDER), "-d", "{}")
            before = await explain(mesh, *given)
            asked = json.loads(await explain(mesh, *given, "--output", "json"))
            sent = await mesh.request("POST", f"/{BROKER}", headers=ORDER, body=b"{}")
            await mesh.until(lambda status: told_of(status, "default/orders").delivered == 1)

            stored = json.loads(await explain(mesh, "--id", "1042", "--output", "json"))
            proposed = tmp_path / "proposed.yaml"
            renamed = trigger("returns", subscriber.url("/refunds"), type="return")
            proposed.write_text(manifest(broker(), renamed))
            planned = await explain(mesh, "--id", "1042", "--manifests", proposed)
            status = await mesh.status()

    assert sent.status == 202
    assert before == (
        "orders   yes\n"
        'refunds  no   filters[0].exact type: "refund" ≠ "order"\n'
        "1 of 2 triggers match\n"
    )
    assert stored["at"] is not None
    assert stored["event"]["subject"] == "café"
    assert {**stored, "at": None} == asked
    assert planned.endswith(
        'returns  no   filters[0].exact type: "return" ≠ "order"\n0 of 1 trigger matches\n'
    )
    assert status.brokers[0].accepted == 1
    assert told_of(status, "default/refunds").matched == 0
