"""An MQTT server for any test that asks for it, as a plug-in of pytest.

``mqtt`` is ``host:port`` of the server that one test run shares, without security: topics and
clients have names that no other test has. ``mqtt_listeners`` is all of its listeners,
``mqtt_relay`` a way there that a test can cut, and ``mqtt_server`` a server of the test's own, to
be entered, stopped, killed and restarted.

The shared server is started by the first test that asks, in whichever worker that runs, and
lives until the run ends, whatever becomes of that worker.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Final

import pytest

from tests.services.mesh import HOST, free_port
from tests.services.missing import Missing
from tests.services.mqtt.server import Listeners, MqttServer, find
from tests.services.relay import Relay
from tests.services.run import asks, folder_of_the_run, owner, shared
from tests.services.server import log_end

_FOUND: Final = pytest.StashKey[str | Missing]()
_STARTED: Final = pytest.StashKey[MqttServer]()
_LOG: Final = pytest.StashKey[Path]()


@pytest.fixture
def mqtt(mqtt_listeners: Listeners) -> str:
    """Return where the shared server listens, to everybody, without TLS."""
    return mqtt_listeners.mqtt


@pytest.fixture
async def mqtt_relay(mqtt: str) -> AsyncIterator[Relay]:
    """Return a relay before the shared server: ``relay.address`` leads there."""
    async with Relay(f"{HOST}:{free_port()}", to=mqtt) as relay:
        yield relay


@pytest.fixture(scope="session")
def mqtt_listeners(
    mqtt_program: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Listeners:
    """Return every listener of the shared server."""
    run = folder_of_the_run(tmp_path_factory, pytestconfig)

    def start() -> Listeners:
        folder = Path(tempfile.mkdtemp(prefix="mqtt-", dir=run))
        server = MqttServer(folder, mqtt_program, owner=owner(pytestconfig))
        server.start()
        pytestconfig.stash[_STARTED] = server  # it lives on, and so must its process object
        return server.listeners

    listeners = shared(run / "mqtt.json", Listeners, start)
    pytestconfig.stash[_LOG] = listeners.log
    return listeners


@pytest.fixture
def mqtt_server(mqtt_program: str, tmp_path: Path) -> MqttServer:
    """Return a server of this test's own, to be entered."""
    return MqttServer(tmp_path / "mqtt", mqtt_program)


@pytest.fixture(scope="session")
def mqtt_program(pytestconfig: pytest.Config) -> str:
    """Return what to run servers with."""
    found = pytestconfig.stash.get(_FOUND, None) or find()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    # Installing may take longer than a test may.
    if any(asks(each, "mqtt") for each in session.items):
        session.config.stash[_FOUND] = find()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    log = item.config.stash.get(_LOG, None)
    if report.failed and log and asks(item, "mqtt"):
        report.sections.append(("the shared MQTT server", log_end("Mosquitto", log)))
    return report
