"""How far the sources of a broker have come, in the same file as its events."""

from __future__ import annotations

import sqlite3

from broker.channels.embedded.store import Store


class EmbeddedCheckpoints:
    """See `broker.ports.Checkpoints`."""

    def __init__(self, store: Store, broker: int) -> None:
        self._store = store
        self._broker = broker

    async def get(self, source: str) -> bytes | None:
        query = "SELECT place FROM checkpoint WHERE broker = ? AND source = ?"

        def select(reader: sqlite3.Connection) -> bytes | None:
            row = reader.execute(query, (self._broker, source)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._store.read(select)

    async def put(self, source: str, place: bytes) -> None:
        query = "INSERT OR REPLACE INTO checkpoint (broker, source, place) VALUES (?, ?, ?)"
        row = (self._broker, source, place)
        await self._store.write(lambda writer: writer.execute(query, row))
