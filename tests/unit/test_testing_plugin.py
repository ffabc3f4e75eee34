"""The fixture that authors of manifests have in their own tests, in a pytest of theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MANIFEST = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: orders}
spec:
  broker: default
  filters: [{prefix: {type: order.}}]
  subscriber: {uri: http://orders.example.com/}
"""
TESTS = f'''
import pytest
from cemesh import Event


def order(id):
    attributes = {{"specversion": "1.0", "id": id, "source": "/shop", "type": "order.created"}}
    return Event.checked(attributes)


@pytest.mark.cemesh("manifests")
@pytest.mark.asyncio
async def test_a_folder(cemesh_mesh):
    await cemesh_mesh.send(order("1"))
    assert [each.id for each in await cemesh_mesh.attempts("default/orders")] == ["1"]


@pytest.mark.cemesh("""{MANIFEST}""")
@pytest.mark.asyncio
async def test_text_and_nothing_of_the_test_before(cemesh_mesh):
    await cemesh_mesh.settled()
    assert (await cemesh_mesh.books("default/orders")).matched == 0


@pytest.mark.asyncio
async def test_everything(cemesh_mesh):
    await cemesh_mesh.send(order("2"))
    assert [each.id for each in await cemesh_mesh.attempts("default/orders")] == ["2"]
'''


def pytest_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "manifests").mkdir()
    (folder / "manifests" / "mesh.yaml").write_text(MANIFEST)
    (folder / "test_mine.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_fixture_runs_the_mesh_that_the_marker_names(tmp_path: Path) -> None:
    finished = pytest_in(tmp_path)

    assert "3 passed" in finished.stdout, finished.stdout
    assert finished.returncode == 0


def test_a_manifest_that_is_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: Broker\n")
    finished = pytest_in(tmp_path, "-k", "test_everything")

    assert finished.returncode == 1
    assert "InvalidManifest" in finished.stdout
    assert "wrong.yaml" in finished.stdout
