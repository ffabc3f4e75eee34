"""Inserts events as rows, and finds out of many which one the database does not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from broker.connections.postgresql.connecting import FAILURES, Connection, close, connect, said
from broker.connections.postgresql.tables import UnfitTable, find_table
from broker.event import Event
from broker.ports import Accepted, Answer, Refused
from sinks.postgresql.rows import NEEDED, Rows, Values
from sinks.postgresql.spec import PostgresqlSinkSpec

_PERMANENT: Final = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE about the row: data that do not fit, broken constraints, what is too long."""

_ALIKE_FOR_ALL: Final = frozenset({"08", "0A", "25", "28", "42", "53", "57", "58", "F0", "XX"})
"""Classes that are about the connection, the statement or the server: no row is at fault."""

_NO_CONSTRAINT: Final = "42P10"
_UNIQUE: Final = ("source", "id")

# Where it is off, what is committed may be lost with the server. All else is the operator's.
_DURABLY: Final = """
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') = 'off'
"""


class Inserter:
    """One connection, made when there is something to insert, and anew when it is lost."""

    def __init__(self, spec: PostgresqlSinkSpec, name: str) -> None:
        self._spec = spec
        self._name = name
        self._opened: tuple[Connection, Rows] | None = None

    async def insert(self, events: Sequence[Event]) -> Sequence[Answer]:
        """Return what became of each event. What is accepted is committed."""
        try:
            connection, rows = await self._open()
            answers: dict[int, Answer] = {}
            values: dict[int, Values] = {}
            for number, event in enumerate(events):
                try:
                    values[number] = rows.values(event)
                except ValueError as error:
                    answers[number] = Refused(reason=str(error), permanent=True)
            taken = await self._inserted(connection, rows.insert, list(values.values()))
        except (UnfitTable, *FAILURES) as error:
            await self.close()  # and look at the table again, next time
            return [Refused(reason=self._why(error))] * len(events)
        answers |= zip(values, taken, strict=True)
        return [answers[number] for number in range(len(events))]

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._opened is not None:
            connection, _ = self._opened
            self._opened = None
            await close(connection)

    async def _open(self) -> tuple[Connection, Rows]:
        if self._opened is not None and not self._opened[0].is_closed():
            return self._opened
        connection = await connect(self._spec, self._name)
        try:
            await connection.execute(_DURABLY)
            table = await find_table(connection, self._spec, self._spec.columns, needed=NEEDED)
            table.demand_types()
            table.demand("INSERT", *table.columns)
            if self._spec.idempotent:
                table.demand("SELECT", *_UNIQUE)
            rows = Rows(table, unique=_UNIQUE if self._spec.idempotent else ())
        except BaseException:
            await close(connection)
            raise
        self._opened = connection, rows
        return self._opened

    async def _inserted(
        self, connection: Connection, statement: str, rows: Sequence[Values]
    ) -> Sequence[Answer]:
        """Insert all of them or none, and where one is refused each half for itself."""
        if not rows:
            return []
        try:
            await connection.executemany(statement, rows)
        except asyncpg.PostgresError as error:
            about = (error.sqlstate or "XX")[:2]
            if about in _ALIKE_FOR_ALL:
                raise
            if len(rows) == 1:
                return [Refused(reason=self._why(error), permanent=about in _PERMANENT)]
            half = len(rows) // 2
            return [
                *await self._inserted(connection, statement, rows[:half]),
                *await self._inserted(connection, statement, rows[half:]),
            ]
        return [Accepted()] * len(rows)

    def _why(self, error: BaseException) -> str:
        if isinstance(error, UnfitTable):
            return f"{self._spec.address}: {error}"
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == _NO_CONSTRAINT:
            table = self._spec.quoted_table
            return (
                f"{self._spec.address}: {table} has no unique constraint on source and id, which "
                f"'idempotent' needs: ALTER TABLE {table} ADD UNIQUE (source, id), or set "
                "'idempotent: false'"
            )
        return said(self._spec, error)
