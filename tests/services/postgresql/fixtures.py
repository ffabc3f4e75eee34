"""PostgreSQL for any test that asks for it, as a plug-in of pytest.

``postgresql`` is a database of the test's own, on the server that one test run shares;
``postgresql_relay`` a way to that server that a test can cut; and ``postgresql_server`` a server of
the test's own, to be entered, killed and restarted.

The shared server is started by the first test that asks, in whichever worker that runs, and
lives until the run ends, whatever becomes of that worker.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.services.mesh import HOST, free_port
from tests.services.missing import Missing
from tests.services.postgresql.distribution import Distribution, find
from tests.services.postgresql.server import (
    ADMIN,
    CERTIFIED,
    PASSWORD,
    TLS_ONLY,
    Place,
    PostgresqlServer,
)
from tests.services.relay import Relay
from tests.services.run import asks, folder_of_the_run, owner, shared
from tests.services.server import log_end

_FOUND: Final = pytest.StashKey[Distribution | Missing]()
_STARTED: Final = pytest.StashKey[PostgresqlServer]()
_LOG: Final = pytest.StashKey[Path]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database, and a connection of its owner's, to look at it and to change it by."""

    place: Place
    name: str
    connection: asyncpg.Connection[asyncpg.Record]

    def spec(self, **fields: object) -> dict[str, object]:
        """Return what a ``spec`` says of the server, as ADMIN, and these fields."""
        url = self.place.url(self.name)
        return {"url": url, "user": ADMIN, "password": PASSWORD, **fields}


@pytest.fixture
async def postgresql(postgresql_place: Place) -> AsyncIterator[Database]:
    """Return a database that only this test has, on the shared server."""
    name = f"test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgresql_place.admin())
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        connection = await asyncpg.connect(postgresql_place.admin(name))
        yield Database(place=postgresql_place, name=name, connection=connection)
        await connection.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def postgresql_relay(postgresql_place: Place) -> AsyncIterator[Relay]:
    """Return a relay before the server of ``postgresql``."""
    async with Relay(f"{HOST}:{free_port()}", to=postgresql_place.address) as relay:
        yield relay


@pytest.fixture(scope="session")
def postgresql_place(
    postgresql_distribution: Distribution,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Place:
    """Return where the shared server is."""
    run = folder_of_the_run(tmp_path_factory, pytestconfig)

    def start() -> Place:
        folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir=run))
        server = PostgresqlServer(folder, postgresql_distribution, owner=owner(pytestconfig))
        server.start()
        pytestconfig.stash[_STARTED] = server  # it lives on, and so must its process object
        for role in (CERTIFIED, TLS_ONLY):
            server.psql(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}'")
        return server.place

    place = shared(run / "postgresql.json", Place, start)
    pytestconfig.stash[_LOG] = place.log
    return place


@pytest.fixture
def postgresql_server(postgresql_distribution: Distribution, tmp_path: Path) -> PostgresqlServer:
    """Return a server of this test's own, to be entered."""
    return PostgresqlServer(tmp_path / "postgresql", postgresql_distribution)


@pytest.fixture(scope="session")
def postgresql_distribution(pytestconfig: pytest.Config) -> Distribution:
    """Return what to run servers with."""
    found = pytestconfig.stash.get(_FOUND, None) or find()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    # Installing may take longer than a test may.
    if any(asks(each, "postgresql") for each in session.items):
        session.config.stash[_FOUND] = find()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    log = item.config.stash.get(_LOG, None)
    if report.failed and log and asks(item, "postgresql"):
        report.sections.append(("the shared PostgreSQL", log_end("PostgreSQL", log)))
    return report
