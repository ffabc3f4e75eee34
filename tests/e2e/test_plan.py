"""``cemesh plan`` against a real mesh: what it says is so, and the mesh goes on as it was."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


async def plan(mesh: RunningMesh, *arguments: str | Path) -> str:
    """Run ``cemesh plan`` against the mesh and return what it prints."""

    def run() -> subprocess.CompletedProcess[str]:
        port = ("--admin-port", str(mesh.admin_port))
        command = [str(each) for each in (CEMESH, "plan", *arguments, *port)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 0, ended
    return ended.stdout


async def triggers(mesh: RunningMesh, *arguments: str | Path) -> dict[str, dict[str, Any]]:
    """Return what the plan says of each trigger of the broker, by name."""
    [found] = json.loads(await plan(mesh, *arguments, "--output", "json"))["brokers"]
    return {each["name"]: each for each in found["triggers"]}


def counts(trigger: dict[str, Any]) -> list[int]:
    return [trigger[name] for name in ("now", "proposed", "more", "fewer")]


async def test_a_plan_counts_the_stored_events_and_changes_nothing(
    running_mesh: Meshes, tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        url = subscriber.url("/fine")
        now = manifest(broker(), trigger("orders", url, type="order.placed"), trigger("audit", url))
        proposed = tmp_path / "proposed.yaml"
        proposed.write_text(
            manifest(broker(), trigger("orders", url, type="order.returned"), trigger("audit", url))
        )
        types = ["order.placed"] * 1_200 + ["order.returned"] * 7 + ["invoice"] * 5
        async with running_mesh(now) as mesh:
            sent = [event(str(number), type=each) for number, each in enumerate(types)]
            assert set(await mesh.send_all(BROKER, sent)) == {202}
            await mesh.until(
                lambda status: (
                    told_of(status, "default/audit").delivered == len(types)
                    and told_of(status, "default/orders").delivered == 1_200
                )
            )
            await mesh.terminate()
            await mesh.start()
            before, received = await mesh.status(), len(subscriber.received)

            text = await plan(mesh, proposed)
            told = await triggers(mesh, proposed, "--examples", "10")

            assert counts(told["default/audit"]) == [1_212, 1_212, 0, 0]
            assert counts(told["default/orders"]) == [1_200, 7, 7, 1_200]
            assert {each["event"]["id"] for each in told["default/orders"]["gained"]} == {
                str(number) for number in range(1_200, 1_207)
            }
            assert len(told["default/orders"]["lost"]) == 10
            assert 'filters[0].exact type: "order.returned" ≠ "order.placed"' in text
            assert "default/default  1,212 events since " in text
            assert await mesh.status() == before
            assert len(subscriber.received) == received
            assert mesh.manifest.read_text() == now


async def test_what_a_plan_foretells_is_what_happens(running_mesh: Meshes, tmp_path: Path) -> None:
    async with Subscriber() as subscriber:
        url = subscriber.url("/fine")
        proposed = tmp_path / "proposed.yaml"
        proposed.write_text(manifest(broker(), trigger("invoices", url, type="invoice")))
        batch = ["order.placed", "order.placed", "invoice"]
        async with running_mesh(
            manifest(broker(), trigger("orders", url, type="order.placed"))
        ) as mesh:
            for number, each in enumerate(batch):
                assert await mesh.send(BROKER, event(str(number), type=each)) == 202
            await mesh.until(lambda status: told_of(status, "default/orders").delivered == 2)
            told = await triggers(mesh, proposed)

            mesh.manifest.write_text(proposed.read_text())
            await mesh.until(
                lambda status: (
                    [each.name for each in status.brokers[0].triggers] == ["default/invoices"]
                )
            )
            for number, each in enumerate(batch, start=10):
                assert await mesh.send(BROKER, event(str(number), type=each)) == 202
            status = await mesh.until(
                lambda status: told_of(status, "default/invoices").delivered > 0
            )

            assert told["default/orders"]["change"] == "removed"
            assert told["default/invoices"]["change"] == "new"
            assert counts(told["default/invoices"]) == [0, 1, 1, 0]
            assert told_of(status, "default/invoices").matched == 1
            assert len(subscriber.received) == 3
