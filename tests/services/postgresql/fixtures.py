"""PostgreSQL for any test that asks for it, as a plug-in of pytest.

``postgresql`` is a database of the test's own, on the server that one test run shares;
``postgresql_relay`` a way to that server that a test can cut; and ``postgresql_server`` a server of
the test's own, to be entered, killed and restarted.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.services.mesh import HOST, free_port
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
from tests.services.sharing import SharedServer

_POSTGRESQL: Final = SharedServer("postgresql", "PostgreSQL", Place, find=find)


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

    def start(folder: Path, owner: int) -> tuple[PostgresqlServer, Place]:
        server = PostgresqlServer(folder, postgresql_distribution, owner=owner)
        server.start()
        for role in (CERTIFIED, TLS_ONLY):
            server.psql(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}'")
        return server, server.place

    return _POSTGRESQL.place(start, tmp_path_factory, pytestconfig)


@pytest.fixture
def postgresql_server(postgresql_distribution: Distribution, tmp_path: Path) -> PostgresqlServer:
    """Return a server of this test's own, to be entered."""
    return PostgresqlServer(tmp_path / "postgresql", postgresql_distribution)


@pytest.fixture(scope="session")
def postgresql_distribution(pytestconfig: pytest.Config) -> Distribution:
    """Return what to run servers with."""
    return _POSTGRESQL.program(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_POSTGRESQL)
