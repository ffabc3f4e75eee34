"""Kubernetes for any test that asks for it, as a plug-in of pytest.

``kubernetes`` is the API server that one test run shares, where each test has namespaces of its
own; ``kubernetes_relay`` a way there that a test can cut; and ``kubernetes_server`` a server of
the test's own, to be entered, killed and restarted: one at a time in a run. ``helm`` is a program.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.services.kubernetes import programs
from tests.services.kubernetes.build import BIN
from tests.services.kubernetes.client import Kubernetes
from tests.services.kubernetes.place import Place
from tests.services.kubernetes.programs import program
from tests.services.kubernetes.server import KubernetesServer
from tests.services.locks import locked
from tests.services.mesh import HOST, free_port
from tests.services.relay import Relay
from tests.services.run import folder_of_the_run
from tests.services.sharing import SharedServer

_STARTING: Final = 180
"""Seconds that a test may take: it may be the one that starts a server, or waits for its turn."""

_KUBERNETES: Final = SharedServer("kubernetes", "API server", Place, find=lambda: BIN)


@pytest.fixture(scope="session")
def kubernetes(
    kubernetes_programs: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Kubernetes:
    """Return the shared API server, which other tests are using too."""

    def start(folder: Path, owner: int) -> tuple[KubernetesServer, Place]:
        server = KubernetesServer(folder, kubernetes_programs, owner=owner)
        server.start()
        return server, server.place

    return Kubernetes(_KUBERNETES.place(start, tmp_path_factory, pytestconfig))


@pytest.fixture
async def kubernetes_relay(kubernetes: Kubernetes) -> AsyncIterator[Relay]:
    """Return a relay before the shared server: `kubernetes.kubeconfig(url=…)` leads there."""
    async with Relay(f"{HOST}:{free_port()}", to=urlsplit(kubernetes.url).netloc) as relay:
        yield relay


@pytest.fixture
def kubernetes_server(
    kubernetes_programs: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[KubernetesServer]:
    """Return a server of this test's own, to be entered."""
    # Each takes 400 MB: with the shared one, two is what there is room for.
    with locked(folder_of_the_run(tmp_path_factory, pytestconfig) / "kubernetes_server.lock"):
        yield KubernetesServer(tmp_path / "kubernetes", kubernetes_programs)


@pytest.fixture(scope="session")
def kubernetes_programs(pytestconfig: pytest.Config) -> Path:
    """Return the folder of the programs that a server takes."""
    etcd, server = (program(name, pytestconfig) for name in ("etcd", "kube-apiserver"))
    assert etcd.parent == server.parent
    return server.parent


@pytest.fixture(scope="session")
def helm(pytestconfig: pytest.Config) -> Path:
    """Return the program."""
    return program("helm", pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_KUBERNETES)
    config.pluginmanager.register(programs)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        asks = "kubernetes_programs" in getattr(item, "fixturenames", ())
        if asks and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_STARTING))
