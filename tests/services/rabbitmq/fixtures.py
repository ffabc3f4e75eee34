"""RabbitMQ for any test that asks for it, as a plug-in of pytest.

``rabbitmq`` is the URL of a vhost of the test's own, on the server that one test run shares;
``rabbitmq_relay`` a way there that a test can cut; ``rabbitmq_listeners`` all of the server's
listeners, ``rabbitmq_management`` its HTTP API; and ``rabbitmq_server`` a server of the test's
own, to be entered, killed and restarted.

With ``CEMESH_TEST_RABBITMQ=amqp://…`` all tests share that vhost; those that need more of a server
are skipped.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.services.mesh import HOST, free_port
from tests.services.rabbitmq.distribution import Distribution, find
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.rabbitmq.settings import Listeners
from tests.services.relay import Relay
from tests.services.server import listened_to
from tests.services.sharing import SharedServer

GIVEN: Final = "CEMESH_TEST_RABBITMQ"

_PORTS: Final = {"amqp": 5672, "amqps": 5671}

_RABBITMQ: Final = SharedServer("rabbitmq", "RabbitMQ", Listeners, find=find, given=GIVEN)


@pytest.fixture
def rabbitmq(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a vhost that only this test has, on the shared server, without TLS."""
    given = os.environ.get(GIVEN)
    if given:
        address = _address(given)
        assert listened_to(address), f"nothing listens at {address}, which {GIVEN} gives"
        yield given
        return
    listeners: Listeners = request.getfixturevalue("rabbitmq_listeners")
    with Management(listeners.management).vhost() as vhost:
        yield listeners.url(vhost)


@pytest.fixture
async def rabbitmq_relay(rabbitmq: str) -> AsyncIterator[Relay]:
    """Return a relay before the server of ``rabbitmq``: ``relay.in_url(rabbitmq)`` leads there."""
    async with Relay(f"{HOST}:{free_port()}", to=_address(rabbitmq)) as relay:
        yield relay


@pytest.fixture(scope="session")
def rabbitmq_listeners(
    rabbitmq_distribution: Distribution,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Listeners:
    """Return every listener of the shared server."""

    def start(folder: Path, owner: int) -> tuple[RabbitMQServer, Listeners]:
        server = RabbitMQServer(folder, rabbitmq_distribution, owner=owner)
        server.start()
        return server, server.listeners

    return _RABBITMQ.place(start, tmp_path_factory, pytestconfig)


@pytest.fixture(scope="session")
def rabbitmq_management(rabbitmq_listeners: Listeners) -> Management:
    """Return the HTTP API of the shared server, which other tests are using too."""
    return Management(rabbitmq_listeners.management)


@pytest.fixture
def rabbitmq_server(rabbitmq_distribution: Distribution, tmp_path: Path) -> RabbitMQServer:
    """Return a server of this test's own, to be entered."""
    return RabbitMQServer(tmp_path / "rabbitmq", rabbitmq_distribution)


@pytest.fixture(scope="session")
def rabbitmq_distribution(pytestconfig: pytest.Config) -> Distribution:
    """Return what to run servers with."""
    return _RABBITMQ.program(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_RABBITMQ)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
