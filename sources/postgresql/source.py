"""Reads an outbox table, and emits what its rows have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from broker.connections.postgresql.connecting import FAILURES, Connection, close, connect, said
from broker.connections.postgresql.tables import UnfitTable
from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, SourceContext
from sources.postgresql.outbox import MOST, Outbox
from sources.postgresql.rows import Row, event_of
from sources.postgresql.spec import PostgresqlSourceSpec

_NOT_UTF8: Final = "SQL_ASCII"


class PostgresqlSource:
    """Emits the rows of an outbox in the order of their keys, and deletes or marks them then.

    What was emitted and not yet deleted comes again after a crash, with the same id.
    """

    Spec: ClassVar = PostgresqlSourceSpec
    alone: ClassVar = True

    def __init__(self, spec: PostgresqlSourceSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._source = f"{context.uri}#{quote(spec.table, safe='')}"
        self._woken = asyncio.Event()

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where the table cannot be read."""
        try:
            name = f"cemesh {self._context.namespace}/{self._context.name}"
            connection = await connect(self._spec, name)
            try:
                await self._follow(connection, emit)
            finally:
                await close(connection)
        except FAILURES as error:
            raise UpstreamUnavailable(said(self._spec, error)) from error
        except UnfitTable as error:
            raise UpstreamUnavailable(f"{self._spec.address}: {error}") from error

    async def _follow(self, connection: Connection, emit: Emitter) -> None:
        if connection.get_settings().server_encoding == _NOT_UTF8:
            raise UnfitTable(f"its encoding is {_NOT_UTF8}, of which nobody knows the characters")
        outbox = await Outbox.find(connection, self._spec)
        # Before the first look: what is committed after it is notified of.
        if self._spec.channel is not None:
            await connection.add_listener(self._spec.channel, self._wake)
        connection.add_termination_listener(self._wake)
        self._context.healthy()
        while True:
            self._woken.clear()
            rows = await outbox.read()
            self._context.lag(len(rows) if len(rows) < MOST else await outbox.waiting())
            if rows:
                await self._pass_on(rows, emit)
                await self._clear(outbox, rows)
            else:
                await self._rest()

    def _wake(self, *_: Any) -> None:  # noqa: ANN401 - what asyncpg tells, of which nothing is used
        self._woken.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._spec.poll_interval.total_seconds()):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _clear(self, outbox: Outbox, rows: Sequence[Row]) -> None:
        if await outbox.done(rows) == 0:
            # Reading on would emit the same for ever, without a pause.
            verb = "deleted" if self._spec.on_emitted == "delete" else "marked"
            raise UnfitTable(
                f"of {len(rows)} rows of {self._spec.quoted_table} that were emitted none could be "
                f"{verb}; does a trigger, a rule or row-level security keep them?"
            )

    # --- what becomes of rows --------------------------------------------------------------

    async def _pass_on(self, rows: Sequence[Row], emit: Emitter) -> None:
        events: list[tuple[Row, Event]] = []
        for row in rows:
            try:
                events.append((row, event_of(row, self._source)))
            except InvalidEvent as error:
                await self._reject(row, error)
        await pass_on(events, emit, self._reject)

    async def _reject(self, row: Row, error: InvalidEvent) -> None:
        why = f"the row {row.position} of {self._spec.quoted_table}: {error}"
        await self._context.reject(why, id=f"{self._spec.table}/{row.position}", data=row.data)
