"""Parts of a mesh as processes of their own: how they do not begin."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import CEMESH, free_port

pytestmark = pytest.mark.timeout(120)


def cemesh(part: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a part of a mesh that is to end by itself."""
    return subprocess.run(
        [CEMESH, part, folder, "--admin-port", str(free_port()), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=folder,
    )


@pytest.mark.parametrize("part", ["ingress", "dispatcher", "sources"])
@pytest.mark.parametrize("channel", [None, "memory:"])
def test_a_part_does_not_start_on_a_channel_of_one_process(
    tmp_path: Path, part: str, channel: str | None
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    text = manifest(broker(), broker("more"), trigger("orders", "http://127.0.0.1:1/"))
    Path(folder, "mesh.yaml").write_text(text)
    arguments = () if channel is None else ("--channel", channel)
    port = ("--port", str(free_port())) if part == "ingress" else ()

    ended = cemesh(part, folder, *arguments, *port)

    assert ended.returncode == 3, ended
    first, second = ended.stderr.splitlines()
    scheme = "sqlite" if channel is None else "memory"
    assert first.startswith(
        f"cemesh cannot start: Broker default/default: its channel '{scheme}' is of one process"
    )
    assert second.startswith(f"Broker default/more: its channel '{scheme}' is of one process")
    assert "cemesh run" in first
    assert "--channel kafka://" in first
    assert [each.name for each in folder.iterdir()] == ["mesh.yaml"], "nothing was made"
