"""Redis for any test that asks for it, as a plug-in of pytest.

``redis_url`` is the URL of the server that one test run shares: streams have names that no other
test has. ``redis_relay`` is a way there that a test can cut, ``redis_listeners`` all of its
listeners, and ``redis_server`` a server of the test's own, to be entered, killed and restarted.

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
from tests.services.redis.program import find
from tests.services.redis.server import Listeners, RedisServer
from tests.services.relay import Relay
from tests.services.run import asks, folder_of_the_run, owner, shared
from tests.services.server import log_end

_FOUND: Final = pytest.StashKey[Path | Missing]()
_STARTED: Final = pytest.StashKey[RedisServer]()
_LOG: Final = pytest.StashKey[Path]()


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
    run = folder_of_the_run(tmp_path_factory, pytestconfig)

    def start() -> Listeners:
        folder = Path(tempfile.mkdtemp(prefix="redis-", dir=run))
        server = RedisServer(folder, redis_program, owner=owner(pytestconfig))
        server.start()
        pytestconfig.stash[_STARTED] = server  # it lives on, and so must its process object
        return server.listeners

    listeners = shared(run / "redis.json", Listeners, start)
    pytestconfig.stash[_LOG] = listeners.log
    return listeners


@pytest.fixture
def redis_server(redis_program: Path, tmp_path: Path) -> RedisServer:
    """Return a server of this test's own, to be entered."""
    return RedisServer(tmp_path / "redis", redis_program)


@pytest.fixture(scope="session")
def redis_program(pytestconfig: pytest.Config) -> Path:
    """Return what to run servers with."""
    found = pytestconfig.stash.get(_FOUND, None) or find()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    # Installing may take longer than a test may.
    if any(asks(each, "redis") for each in session.items):
        session.config.stash[_FOUND] = find()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    log = item.config.stash.get(_LOG, None)
    if report.failed and log and asks(item, "redis"):
        report.sections.append(("the shared Redis", log_end("Redis", log)))
    return report
