"""Meshes for the end-to-end tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.services.mesh import RunningMesh


@pytest.fixture
def running_mesh(tmp_path: Path) -> Callable[..., RunningMesh]:
    """Return ``running_mesh(manifest, arguments=…)``: a mesh of this test's own, to be entered."""

    def make(manifest: str, *, arguments: tuple[str, ...] = ()) -> RunningMesh:
        return RunningMesh(tmp_path / "mesh", manifest, arguments=arguments)

    return make


@pytest.fixture(params=["kafka", "rabbitmq"])
def channel(request: pytest.FixtureRequest) -> str:
    """Return the URL of a channel that no other test has."""
    address: str = request.getfixturevalue(request.param)
    if request.param == "rabbitmq":
        return address
    name = f"e2e-{uuid.uuid4()}-{{{{ .Name }}}}"
    config = {
        "default.topic.partitions": "3",
        "default.topic.replication.factor": "1",
        "brokers.topic.template": name,
        "triggers.consumergroup.template": name,
    }
    return f"kafka://{address}?{urlencode(config)}"
