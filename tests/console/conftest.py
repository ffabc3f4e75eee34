"""Meshes whose consoles are looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.mesh import RunningMesh


@pytest.fixture
def running_mesh(tmp_path: Path) -> Callable[..., RunningMesh]:
    """Return ``running_mesh(manifest, arguments=…)``: a mesh of this test's own, to be entered."""

    def make(manifest: str, *, arguments: tuple[str, ...] = ()) -> RunningMesh:
        return RunningMesh(tmp_path / "mesh", manifest, arguments=arguments)

    return make
