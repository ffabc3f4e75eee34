"""A plug-in of pytest, there wherever cemesh is installed: the fixture ``cemesh_mesh``.

    @pytest.mark.asyncio
    @pytest.mark.cemesh("manifests")
    async def test_orders_are_delivered(cemesh_mesh: RunningMesh) -> None: ...

It needs pytest-asyncio.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from cemesh.testing.meshes import RunningMesh

MARKER: Final = "cemesh(*manifests, with_sources=False): the mesh that `cemesh_mesh` runs"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


if importlib.util.find_spec("pytest_asyncio") is None:

    @pytest.fixture
    def cemesh_mesh() -> None:
        """Say what the fixture of that name needs."""
        pytest.fail("`cemesh_mesh` needs pytest-asyncio: pip install pytest-asyncio", pytrace=False)

else:
    import pytest_asyncio

    @pytest_asyncio.fixture(name="cemesh_mesh")
    async def _running_mesh(request: pytest.FixtureRequest) -> AsyncIterator[RunningMesh]:
        """Run a mesh in memory as `cemesh.testing.mesh` does, and return it.

        On what the marker ``cemesh`` names: files and folders, seen from pytest's root, or YAML
        itself, which has more than one line. All of that where it names none.
        """
        from cemesh.testing.meshes import mesh  # which takes a while to import

        marker = request.node.get_closest_marker("cemesh")
        named = marker.args if marker is not None and marker.args else (".",)
        options = {} if marker is None else marker.kwargs
        manifests = [
            each if isinstance(each, str) and "\n" in each else request.config.rootpath / each
            for each in named
        ]
        async with mesh(*manifests, **options) as running:
            yield running
