"""Gathers the attempts that come at a time into one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Final, Self

from broker.event import Event
from broker.ports import Answer, SinkContext
from sinks.postgresql.inserting import Inserter
from sinks.postgresql.spec import PostgresqlSinkSpec

_TOGETHER: Final = 500
"""Rows of one transaction, at most."""


class PostgresqlSink:
    """Inserts a row for each event; what comes while a transaction commits is in the next one."""

    Spec: ClassVar = PostgresqlSinkSpec

    def __init__(self, spec: PostgresqlSinkSpec, context: SinkContext) -> None:
        self._inserter = Inserter(spec, f"cemesh {context.namespace}/{context.name}")
        self._waiting: list[tuple[Event, asyncio.Future[Answer]]] = []
        self._inserting: asyncio.Task[Sequence[Answer]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Return once the transaction that was begun has ended, and the connection is closed."""
        self._waiting = []  # nobody waits for these answers any more
        if self._inserting is not None:
            await asyncio.wait([self._inserting])
        await self._inserter.close()

    async def attempt(self, event: Event) -> Answer:
        """Return once the row is committed, or was there already."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, answered))
        if self._inserting is None:
            self._begin()
        return await answered

    def _begin(self) -> None:
        """Have the events inserted that wait, as far as one transaction takes them."""
        # Of those that were cancelled, their time being over, nobody waits for the answer.
        waiting = [each for each in self._waiting if not each[1].done()]
        batch, self._waiting = waiting[:_TOGETHER], waiting[_TOGETHER:]
        if not batch:
            self._inserting = None
            return
        work = self._inserter.insert([event for event, _ in batch])
        self._inserting = asyncio.create_task(work)

        def answer(done: asyncio.Task[Sequence[Answer]]) -> None:
            fault = None if done.cancelled() else done.exception()
            for number, (_, answered) in enumerate(batch):
                if answered.done():
                    continue
                if done.cancelled():
                    answered.cancel()
                elif fault is not None:
                    answered.set_exception(fault)
                else:
                    answered.set_result(done.result()[number])
            if not done.cancelled():
                self._begin()

        self._inserting.add_done_callback(answer)
