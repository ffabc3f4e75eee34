"""Which triggers of a broker are paused, in the same file as its events."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from broker.channels.clock import microseconds
from broker.channels.embedded.records import moment
from broker.channels.embedded.store import Store
from broker.ports import Pause


class EmbeddedPauses:
    """See `broker.ports.Pauses`."""

    def __init__(self, store: Store, broker: int) -> None:
        self._store = store
        self._broker = broker

    async def all(self) -> Mapping[str, Pause]:
        query = "SELECT trigger, why, since, destination FROM pause WHERE broker = ?"

        def select(reader: sqlite3.Connection) -> Mapping[str, Pause]:
            return {
                trigger: Pause(why=why, since=moment(since), destination=destination)
                for trigger, why, since, destination in reader.execute(query, (self._broker,))
            }

        return await self._store.read(select)

    async def put(self, trigger: str, pause: Pause) -> None:
        query = (
            "INSERT OR REPLACE INTO pause (broker, trigger, why, since, destination)"
            " VALUES (?, ?, ?, ?, ?)"
        )
        row = (self._broker, trigger, pause.why, microseconds(pause.since), pause.destination)
        await self._store.write(lambda writer: writer.execute(query, row))

    async def remove(self, trigger: str) -> None:
        query = "DELETE FROM pause WHERE broker = ? AND trigger = ?"
        await self._store.write(lambda writer: writer.execute(query, (self._broker, trigger)))
