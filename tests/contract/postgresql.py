"""PostgreSQL for the suites of all sources and of all sinks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Self

from broker.event import Event
from sinks.postgresql import PostgresqlSink, PostgresqlSinkSpec
from sources.postgresql import PostgresqlSource, PostgresqlSourceSpec
from sources.postgresql.outbox import Outbox
from sources.postgresql.rows import event_of
from tests.services.postgresql.fixtures import Database
from tests.services.relay import Relay

_TABLE = """
CREATE TABLE events (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text, source text, type text,
  subject text, time text, datacontenttype text, data bytea, extensions jsonb, UNIQUE (source, id)
)
"""


class RowsOfAnOutbox:
    """An outbox that gets a row for each thing."""

    def __init__(self, database: Database) -> None:
        self.source: object = PostgresqlSource
        self.spec: object = PostgresqlSourceSpec.model_validate(
            database.spec(table="events", pollInterval="PT0.1S")
        )
        self._connection = database.connection

    @classmethod
    async def made(cls, database: Database) -> Self:
        await database.connection.execute(_TABLE)
        return cls(database)

    async def bring(self, number: int) -> None:
        insert = "INSERT INTO events (id, source, type) VALUES ($1, '/tests', 'thing')"
        await self._connection.execute(insert, str(number))

    def number_of(self, event: Event) -> int:
        return int(event.id)


class RowsOfEvents:
    """A table that events are inserted into, and a way to it that can be cut."""

    def __init__(self, database: Database, relay: Relay) -> None:
        url = relay.in_url(database.place.url(database.name))
        self.sink: object = PostgresqlSink
        self.spec: object = PostgresqlSinkSpec.model_validate(
            database.spec(table="events") | {"url": url}
        )
        self._database = database
        self._relay = relay

    @classmethod
    async def made(cls, database: Database, relay: Relay) -> Self:
        await database.connection.execute(_TABLE)
        return cls(database, relay)

    async def arrived(self, count: int) -> Sequence[Event]:
        spec = PostgresqlSourceSpec.model_validate(self._database.spec(table="events"))
        outbox = await Outbox.find(self._database.connection, spec)
        return [event_of(row, "/") for row in await outbox.read()]

    def outage(self) -> AbstractContextManager[None]:
        return self._relay.cut()
