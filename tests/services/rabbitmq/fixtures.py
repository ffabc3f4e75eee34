"""RabbitMQ for any test that asks for it, as a plug-in of pytest.

``rabbitmq`` is the URL of a vhost of the test's own, on the server that one test run shares;
``rabbitmq_relay`` a way there that a test can cut; ``rabbitmq_listeners`` all of the server's
listeners, ``rabbitmq_management`` its HTTP API; and ``rabbitmq_server`` a server of the test's
own, to be entered, killed and restarted.

The shared server is started by the first test that asks, in whichever worker that runs, and
lives until the run ends, whatever becomes of that worker. With ``CEMESH_TEST_RABBITMQ=amqp://…``
all tests share that vhost; those that need more of a server are skipped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.services.mesh import HOST, free_port
from tests.services.missing import Missing
from tests.services.rabbitmq.distribution import Distribution, find
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.rabbitmq.settings import Listeners
from tests.services.relay import Relay
from tests.services.run import asks, folder_of_the_run, owner, shared
from tests.services.server import listened_to, log_end

GIVEN: Final = "CEMESH_TEST_RABBITMQ"

_PORTS: Final = {"amqp": 5672, "amqps": 5671}

_FOUND: Final = pytest.StashKey[Distribution | Missing]()
_STARTED: Final = pytest.StashKey[RabbitMQServer]()
_LOG: Final = pytest.StashKey[Path]()


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
    run = folder_of_the_run(tmp_path_factory, pytestconfig)

    def start() -> Listeners:
        folder = Path(tempfile.mkdtemp(prefix="rabbitmq-", dir=run))
        server = RabbitMQServer(folder, rabbitmq_distribution, owner=owner(pytestconfig))
        server.start()
        pytestconfig.stash[_STARTED] = server  # it lives on, and so must its process object
        return server.listeners

    listeners = shared(run / "rabbitmq.json", Listeners, start)
    pytestconfig.stash[_LOG] = listeners.log
    return listeners


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
    if os.environ.get(GIVEN):
        pytest.skip(f"it needs a server of the tests' own, and {GIVEN} gives another")
    found = pytestconfig.stash.get(_FOUND, None) or find()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    # Installing may take longer than a test may.
    if not os.environ.get(GIVEN) and any(asks(each, "rabbitmq") for each in session.items):
        session.config.stash[_FOUND] = find()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    log = item.config.stash.get(_LOG, None)
    if report.failed and log and asks(item, "rabbitmq"):
        report.sections.append(("the shared RabbitMQ", log_end("RabbitMQ", log)))
    return report


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
