"""Looks back in a broker's log: attributes only, in a reader's thread."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from broker.channels.embedded.records import decode_event, encode_head, moment
from broker.channels.embedded.store import Store
from broker.channels.history import CLOCK_STEP
from broker.event import Event
from broker.ports import Stored

_AT_ONCE: Final = 20_000
"""Events looked at by one query, so that other readers need not wait long for a thread."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is looked for: behind ``after``, up to ``until``, since a time, with an id."""

    after: int
    until: int
    since: datetime | None
    id: str | None


async def read_history(store: Store, log_table: str, window: Window, limit: int) -> list[Stored]:
    """Return up to ``limit`` events of the window, oldest first. Raises `ChannelUnavailable`."""
    log = _Log(log_table, window)
    found: list[Stored] = []
    reached = await store.read(log.start)
    while reached < window.until and len(found) < limit:
        start, reached = reached, min(reached + _AT_ONCE, window.until)
        select = partial(log.select, start=start, end=reached, limit=limit - len(found))
        found += await store.read(select)
    return found


class _Log:
    """The queries. A trim between two of them does no harm: it takes from the beginning."""

    def __init__(self, table: str, window: Window) -> None:
        self._table = table
        self._window = window
        self._since = None if window.since is None else _microseconds(window.since)
        conditions = ["position > ?", "position <= ?"]
        self._values: list[object] = []
        if self._since is not None:
            conditions.append("at >= ?")
            self._values.append(self._since)
        if window.id is not None:
            # A text within the head is enough, and many times faster than reading its JSON:
            # in a name or a value, a quotation mark would stand behind a backslash.
            conditions.append("instr(head, ?) > 0")
            self._values.append(encode_head(Event({"id": window.id}))[1:-1])
        self._query = (
            f"SELECT position, at, addressee, hops, head, trace FROM {table}"
            f" WHERE {' AND '.join(conditions)} ORDER BY position LIMIT ?"
        )

    def start(self, reader: sqlite3.Connection) -> int:
        """Return the position behind which to look."""
        first: int | None
        (first,) = reader.execute(f"SELECT min(position) FROM {self._table}").fetchone()
        if first is None:
            return self._window.until
        if self._since is not None:
            # Positions and times both grow, but for the steps of the clock.
            sought = self._since - CLOCK_STEP // _MICROSECOND
            positions = range(first, self._window.until + 1)
            first += bisect_left(positions, sought, key=lambda each: self._at(reader, each, sought))
        return max(first - 1, self._window.after)

    def _at(self, reader: sqlite3.Connection, position: int, otherwise: int) -> int:
        """Return when the first event from that position on was accepted."""
        query = f"SELECT at FROM {self._table} WHERE position >= ? ORDER BY position LIMIT 1"
        row = reader.execute(query, (position,)).fetchone()
        return otherwise if row is None else int(row[0])

    def select(
        self, reader: sqlite3.Connection, *, start: int, end: int, limit: int
    ) -> Sequence[Stored]:
        """Return what is looked for in (start, end]."""
        rows = reader.execute(self._query, (start, end, *self._values, limit))
        return [
            Stored(
                position=str(position),
                at=moment(at),
                event=decode_event(head, None, hops, trace),
                to=addressee,
            )
            for position, at, addressee, hops, head, trace in rows
        ]


def _microseconds(since: datetime) -> int:
    return (since - _EPOCH) // _MICROSECOND
