"""An MQTT server for any test that asks for it, as a plug-in of pytest.

``mqtt`` is ``host:port`` of the server that one test run shares, without security: topics and
clients have names that no other test has. ``mqtt_listeners`` is all of its listeners,
``mqtt_relay`` a way there that a test can cut, and ``mqtt_server`` a server of the test's own, to
be entered, stopped, killed and restarted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.services.mesh import HOST, free_port
from tests.services.mqtt.server import Listeners, MqttServer, find
from tests.services.relay import Relay
from tests.services.sharing import SharedServer

_MQTT: Final = SharedServer("mqtt", "Mosquitto", Listeners, find=find)


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

    def start(folder: Path, owner: int) -> tuple[MqttServer, Listeners]:
        server = MqttServer(folder, mqtt_program, owner=owner)
        server.start()
        return server, server.listeners

    return _MQTT.place(start, tmp_path_factory, pytestconfig)


@pytest.fixture
def mqtt_server(mqtt_program: str, tmp_path: Path) -> MqttServer:
    """Return a server of this test's own, to be entered."""
    return MqttServer(tmp_path / "mqtt", mqtt_program)


@pytest.fixture(scope="session")
def mqtt_program(pytestconfig: pytest.Config) -> str:
    """Return what to run servers with."""
    return _MQTT.program(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_MQTT)
