"""Redis for any test that asks for it, as a plug-in of pytest.

``redis_url`` is the URL of the server that one test run shares: streams have names that no other
test has. ``redis_relay`` is a way there that a test can cut, ``redis_listeners`` all of its
listeners, and ``redis_server`` a server of the test's own, to be entered, killed and restarted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.services.mesh import HOST, free_port
from tests.services.redis.program import find
from tests.services.redis.server import Listeners, RedisServer
from tests.services.relay import Relay
from tests.services.sharing import SharedServer

_REDIS: Final = SharedServer("redis", "Redis", Listeners, find=find)


@pytest.fixture
def redis_url(redis_listeners: Listeners) -> str:
    """Return the URL of the shared server, without TLS."""
    return redis_listeners.url


@pytest.fixture
async def redis_relay(redis_listeners: Listeners) -> AsyncIterator[Relay]:
    """Return a relay before the shared server: ``relay.in_url(redis_url)`` leads there."""
    async with Relay(f"{HOST}:{free_port()}", to=redis_listeners.plain) as relay:
        yield relay


@pytest.fixture(scope="session")
def redis_listeners(
    redis_program: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Listeners:
    """Return every listener of the shared server."""

    def start(folder: Path, owner: int) -> tuple[RedisServer, Listeners]:
        server = RedisServer(folder, redis_program, owner=owner)
        server.start()
        return server, server.listeners

    return _REDIS.place(start, tmp_path_factory, pytestconfig)


@pytest.fixture
def redis_server(redis_program: Path, tmp_path: Path) -> RedisServer:
    """Return a server of this test's own, to be entered."""
    return RedisServer(tmp_path / "redis", redis_program)


@pytest.fixture(scope="session")
def redis_program(pytestconfig: pytest.Config) -> Path:
    """Return what to run servers with."""
    return _REDIS.program(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_REDIS)
