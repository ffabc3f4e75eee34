"""Kafka for any test that asks for it, as a plug-in of pytest.

``kafka`` is the address of the server that one test run shares, ``kafka_listeners`` all of its
listeners, ``kafka_relay`` a way to it that a test can cut, and ``kafka_server`` a server of the
test's own, to be entered, killed and restarted.

With ``CEMESH_TEST_KAFKA=host:port`` that server is the shared one; tests that need more of a
server than its address are skipped.
"""

from __future__ import annotations

import gc
import os
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
from tests.services.relay import Relay
from tests.services.run import asks, folder_of_the_run, worker
from tests.services.sharing import SharedServer

GIVEN: Final = "CEMESH_TEST_KAFKA"

_RELAYS: Final = 8  # as many as `make test` starts workers, so that none waits for another

_KAFKA: Final = SharedServer(
    "kafka", "Kafka", Listeners, find=lambda: archived(find()), given=GIVEN
)


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

    def start(folder: Path, owner: int) -> tuple[KafkaServer, Listeners]:
        server = KafkaServer(folder, kafka_distribution, owner=owner, relays=_RELAYS)
        server.start()
        return server, server.listeners

    return _KAFKA.place(start, tmp_path_factory, pytestconfig)


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
    return _KAFKA.program(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_KAFKA)


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
