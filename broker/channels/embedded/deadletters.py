"""The broker's own dead-letter store, in the same file as its events."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from broker.channels.clock import now
from broker.channels.embedded.records import (
    decode_event,
    decode_refusal,
    encode_head,
    encode_refusal,
    moment,
)
from broker.channels.embedded.store import Store
from broker.event import Event
from broker.ports import Cause, DeadLetter, Refusal

_COLUMNS: Final = "id, trigger, at, why, hops, head, data, trace"


class EmbeddedDeadLetters:
    """See `broker.ports.DeadLetters`. Burying is part of the commit that settles the claim."""

    def __init__(self, store: Store, broker: int) -> None:
        self._store = store
        self._broker = broker

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        condition = "broker = ? AND id > ?" + ("" if trigger is None else " AND trigger = ?")
        values = (self._broker, _number(after), *(() if trigger is None else (trigger,)), limit)
        query = f"SELECT {_COLUMNS} FROM dead_letter WHERE {condition} ORDER BY id LIMIT ?"
        return await self._store.read(
            lambda reader: [_letter(row) for row in reader.execute(query, values)]
        )

    async def get(self, id: str) -> DeadLetter | None:
        query = f"SELECT {_COLUMNS} FROM dead_letter WHERE broker = ? AND id = ?"

        def select(reader: sqlite3.Connection) -> DeadLetter | None:
            row = reader.execute(query, (self._broker, _number(id))).fetchone()
            return None if row is None else _letter(row)

        return await self._store.read(select)

    async def causes(self) -> Sequence[Cause]:
        """See `broker.ports.CountingDeadLetters`. Payloads stay on the disk."""
        query = (
            "SELECT trigger, json_extract(why, '$.reason'), json_extract(why, '$.status'), "
            "COUNT(*), MIN(at), MAX(at) FROM dead_letter WHERE broker = ? GROUP BY 1, 2, 3"
        )
        return await self._store.read(
            lambda reader: [_cause(row) for row in reader.execute(query, (self._broker,))]
        )

    async def remove(self, ids: Sequence[str]) -> int:
        query = "DELETE FROM dead_letter WHERE broker = ? AND id = ?"
        return await self._store.write(
            lambda writer: (
                writer.executemany(query, [(self._broker, _number(each)) for each in ids]).rowcount
            )
        )

    async def put(self, event: Event, why: Refusal) -> None:
        """See `broker.ports.Channel.bury`."""
        row = (
            self._broker,
            "",
            now(),
            encode_refusal(why),
            event.hops,
            encode_head(event),
            event.data,
            event.trace,
        )
        await self._store.bury(row)


def _number(id: str | None) -> int:
    """Return the row's number; an id that is none of ours is the number of no row."""
    return int(id) if id and id.isascii() and id.isdigit() and len(id) < 19 else 0


def _cause(row: tuple[str, str, int | None, int, int, int]) -> Cause:
    trigger, reason, status, count, first, last = row
    return Cause(
        trigger=trigger,
        reason=reason,
        status=status,
        count=count,
        first=moment(first),
        last=moment(last),
    )


def _letter(row: tuple[int, str, int, str, int, str, bytes | None, str | None]) -> DeadLetter:
    number, trigger, at, why, hops, head, data, trace = row
    return DeadLetter(
        id=f"{number:018d}",
        trigger=trigger,
        event=decode_event(head, data, hops, trace),
        why=decode_refusal(why),
        buried_at=moment(at),
    )
