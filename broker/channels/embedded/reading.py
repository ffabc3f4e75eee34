"""Reads a broker's log for one trigger, in a reader's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from broker.channels.backlog import BUFFER_EVENTS
from broker.channels.embedded.records import COLUMNS, Record, decode_record
from broker.channels.embedded.store import Store
from broker.filters import Filter

_CHUNK_EVENTS: Final = 1_000
_CHUNK_BYTES: Final = 2 << 20


class LogOfTrigger:
    """See `broker.channels.place.Log`."""

    def __init__(self, store: Store, table: str, trigger: str) -> None:
        self._store = store
        self._table = table
        self._trigger = trigger

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Record], int]:
        return await self._store.read(lambda reader: self._select(reader, filter, start, end))

    async def fetch(self, positions: Sequence[int]) -> Sequence[Record]:
        def select(reader: sqlite3.Connection) -> list[Record]:
            query = f"SELECT {COLUMNS} FROM {self._table} WHERE position = ?"
            rows = (reader.execute(query, (position,)).fetchone() for position in positions)
            return [decode_record(*row) for row in rows if row is not None]

        return await self._store.read(select)

    def _select(
        self, reader: sqlite3.Connection, filter: Filter, start: int, end: int
    ) -> tuple[list[Record], int]:
        found: list[Record] = []
        size, reached = 0, end
        rows = reader.execute(
            f"SELECT {COLUMNS} FROM {self._table} WHERE position > ? AND position <= ?"
            " ORDER BY position",
            (start, end),
        )
        for taken, row in enumerate(rows, start=1):
            record = decode_record(*row)
            if record.addressee is not None:
                mine = record.addressee == self._trigger
            else:
                mine = filter.matches(record.event.attributes)
            if mine:
                found.append(record)
                size += record.size
            if taken == _CHUNK_EVENTS or len(found) == BUFFER_EVENTS // 2 or size > _CHUNK_BYTES:
                reached = record.position
                break
        return found, reached
