"""`cemesh bind`: a program of the user's own posts into a mesh that knows nothing of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.manifests import manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.pages import as_run
from tests.services.subscribers import Subscriber

PAGE = (Path(__file__).parents[2] / "docs" / "sources" / "SinkBinding.md").read_text()


async def test_the_program_of_the_page_posts_into_a_running_mesh(
    running_mesh: Callable[..., RunningMesh], tmp_path: Path
) -> None:
    as_run(PAGE, tmp_path)
    binding = (tmp_path / "mesh.yaml").read_text()
    async with Subscriber() as subscriber:
        description = manifest(binding, trigger("all", subscriber.url("/")))
        async with running_mesh(description) as mesh:
            program = await asyncio.create_subprocess_exec(
                *(CEMESH, "bind", "-m", mesh.manifest, "--port", str(mesh.port), "heartbeat"),
                *("--", sys.executable, tmp_path / "heartbeat.py", "alive"),
            )
            code = await asyncio.wait_for(program.wait(), 30)
            (posted,) = await subscriber.received_at("/", 1)
            status = await mesh.status()

    assert code == 0
    assert posted.header("ce-type") == "com.example.heartbeat"
    assert posted.header("ce-team") == "night"
    assert posted.body == b"alive"
    assert status.sources == []
