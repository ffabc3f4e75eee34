"""What the page about sources shows is run as it stands there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.pages import as_run
from tests.services.subscribers import Subscriber

PAGE = Path(__file__).parents[2] / "docs" / "sources" / "README.md"


async def test_the_source_of_the_page_runs_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    as_run(PAGE.read_text(), tmp_path)
    text = (tmp_path / "manifests" / "ticks.yaml").read_text().replace("PT5S", "PT0.05S")
    async with Subscriber() as subscriber:
        wanted = manifest(broker(), trigger("all", subscriber.url("/ticks")), text)
        async with RunningMesh(tmp_path / "mesh", wanted, cwd=tmp_path) as mesh:
            await subscriber.received_at("/ticks", 5)
            await mesh.kill9()
            seen = len(subscriber.received)
            await mesh.start()
            received = await subscriber.received_at("/ticks", seen + 5)
            status = await mesh.status()

    numbers = [int(each.header("ce-id") or 0) for each in received]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1)), "one was skipped"
    (source,) = status.sources
    assert (source.kind, source.name, source.state) == ("Source", "default/ticks", "running")


def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    as_run(PAGE.read_text(), tmp_path)

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ticks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
