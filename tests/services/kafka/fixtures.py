"""Kafka for any test that asks for it, as a plug-in of pytest.

``kafka`` is the address of the server that one test run shares, ``kafka_listeners`` all of its
listeners, ``kafka_relay`` a way to it that a test can cut, and ``kafka_server`` a server of the
test's own, to be entered, killed and restarted.

The shared server is started by the first test that asks, in whichever worker that runs, and
lives until the run ends, whatever becomes of that worker. With ``CEMESH_TEST_KAFKA=host:port``
that server is the shared one; tests that need more of a server than its address are skipped.
"""

from __future__ import annotations

import gc
import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Final

import pytest

from tests.services.kafka.archive import archived
from tests.services.kafka.distribution import Distribution, find
from tests.services.kafka.server import KafkaServer, answers
from tests.services.kafka.settings import Listeners
from tests.services.locks import locked
from tests.services.missing import Missing
from tests.services.relay import Relay
from tests.services.run import asks, folder_of_the_run, owner, shared, worker
from tests.services.server import log_end

GIVEN: Final = "CEMESH_TEST_KAFKA"

_RELAYS: Final = 8  # as many as `make test` starts workers, so that none waits for another

_FOUND: Final = pytest.StashKey[Distribution | Missing]()
_STARTED: Final = pytest.StashKey[KafkaServer]()
_LOG: Final = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """Return where the shared server listens without any security, as ``host:port``."""
    given = os.environ.get(GIVEN)
    if given:
        assert answers(given), f"no Kafka answers at {GIVEN}={given}"
        return given
    listeners: Listeners = request.getfixturevalue("kafka_listeners")
    return listeners.plaintext


@pytest.fixture(scope="session")
def kafka_listeners(
    kafka_distribution: Distribution,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Listeners:
    """Return every listener of the shared server."""
    run = folder_of_the_run(tmp_path_factory, pytestconfig)

    def start() -> Listeners:
        folder = Path(tempfile.mkdtemp(prefix="kafka-", dir=run))
        server = KafkaServer(folder, kafka_distribution, owner=owner(pytestconfig), relays=_RELAYS)
        server.start()
        pytestconfig.stash[_STARTED] = server  # it lives on, and so must its process object
        return server.listeners

    listeners = shared(run / "kafka.json", Listeners, start)
    pytestconfig.stash[_LOG] = listeners.log
    return listeners


@pytest.fixture
async def kafka_relay(
    kafka_listeners: Listeners,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> AsyncIterator[Relay]:
    """Return a relay before the shared server, which sends whoever comes through it there again."""
    number = int(worker(pytestconfig).removeprefix("gw") or 0) % _RELAYS
    address, behind = list(kafka_listeners.relayed.items())[number]
    run = folder_of_the_run(tmp_path_factory, pytestconfig)
    # No other worker has it meanwhile, also where there are more of them than relays.
    with locked(run / f"kafka-relay-{number}.lock"):
        async with Relay(address, to=behind) as relay:
            yield relay


@pytest.fixture
def kafka_server(kafka_distribution: Distribution, tmp_path: Path) -> KafkaServer:
    """Return a server of this test's own, to be entered."""
    return KafkaServer(tmp_path / "kafka", kafka_distribution)


@pytest.fixture(scope="session")
def kafka_distribution(pytestconfig: pytest.Config) -> Distribution:
    """Return what to run servers with."""
    if os.environ.get(GIVEN):
        pytest.skip(f"it needs a server of the tests' own, and {GIVEN} gives another")
    found = pytestconfig.stash.get(_FOUND, None) or archived(find())
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    # Fetching the jars may take longer than a test may, and so may archiving their classes.
    if not os.environ.get(GIVEN) and any(asks(each, "kafka") for each in session.items):
        session.config.stash[_FOUND] = archived(find())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Let go of what a test left, so that no later one is blamed for it.

    aiokafka forgets a connection that it was opening when it is told to close.
    """
    try:
        return (yield)
    finally:
        if asks(item, "kafka"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and asks(item, "kafka") and (log := item.config.stash.get(_LOG, None)):
        report.sections.append(("the shared Kafka", log_end("Kafka", log)))
    return report
