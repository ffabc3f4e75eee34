"""The deliveries of one trigger that wait for their time, however many: they wait in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from broker.channels.clock import now
from broker.channels.embedded.records import (
    COLUMNS,
    Record,
    decode_record,
    decode_refusal,
    encode_refusal,
)
from broker.channels.embedded.store import Store
from broker.channels.embedded.writing import Row
from broker.channels.place import Held
from broker.ports import Refusal


@dataclass(frozen=True, slots=True)
class Deferral:
    """When a delivery is due (microseconds since 1970), and what it is to come back with."""

    due: int
    attempts: int
    condemned: Refusal | None


class Deferrals:
    """The rows of ``deferred`` of one place, and the changes to them not yet committed.

    ``count`` includes what is not yet committed. ``next_due`` is when it is worth looking, in
    microseconds since 1970, or None where nothing waits.
    """

    def __init__(self, place: int, log_table: str, *, count: int, next_due: int | None) -> None:
        self.count = count
        self.next_due = next_due
        self._place = place
        self._query = f"SELECT {COLUMNS} FROM {log_table} WHERE position = ?"
        # Position → the row to be, or None for one to be deleted. What is being committed, or
        # was while a look into the file is under way, stays in `_saving`: the look may have
        # seen the file as it was before.
        self._unsaved: dict[int, Deferral | None] = {}
        self._saving: dict[int, Deferral | None] = {}
        self._taken: dict[int, Deferral | None] = {}
        self._looking = False

    def put(self, position: int, deferral: Deferral) -> None:
        self._unsaved[position] = deferral
        self.count += 1

    @property
    def unsaved(self) -> int:
        return len(self._unsaved)

    def oldest_unsaved(self) -> int | None:
        """Return the lowest position that is deferred, but not in the file yet."""
        rows = {**self._saving, **self._unsaved}
        return min((at for at, row in rows.items() if row is not None), default=None)

    def take_changes(self) -> tuple[list[Row], list[Row]]:
        """Return the rows to write and those to delete, as being committed from now on."""
        taken = self._taken = self._unsaved
        self._unsaved = {}
        self._saving.update(taken)
        written: list[Row] = [
            (self._place, position, row.due, row.attempts, encode_refusal(row.condemned))
            for position, row in taken.items()
            if row is not None
        ]
        deleted: list[Row] = [
            (self._place, position) for position, row in taken.items() if row is None
        ]
        return written, deleted

    def committed(self) -> None:
        dues = [row.due for row in self._taken.values() if row is not None]
        if dues:
            soonest = min(dues)
            self.next_due = soonest if self.next_due is None else min(self.next_due, soonest)
        self._taken = {}
        self._forget()

    def failed(self) -> None:
        self._unsaved = {**self._taken, **self._unsaved}
        self._taken = {}
        self._forget()

    async def due(self, store: Store, room: int) -> Sequence[Held[Record] | None]:
        """Take up to ``room`` deliveries whose time has come, most overdue first.

        None stands for one whose event the retention has removed while the trigger was gone.
        Raises `ChannelUnavailable`.
        """
        self._looking = True
        time = now()
        hidden = self._unsaved.keys() | self._saving.keys()
        try:
            found, more, later = await store.read(
                lambda reader: self._select(reader, time, room, hidden)
            )
        finally:
            self._looking = False
        # A row committed during the look may be missing from it.
        dues = [row.due for row in self._saving.values() if row is not None]
        dues += [] if later is None else [later]
        self.next_due = time if more else min(dues, default=None)
        self._forget()
        self._unsaved.update(dict.fromkeys(found))
        self.count -= len(found)
        return list(found.values())

    def _forget(self) -> None:
        if not self._looking:
            self._saving = dict(self._taken)

    def _select(
        self, reader: sqlite3.Connection, time: int, room: int, hidden: AbstractSet[int]
    ) -> tuple[dict[int, Held[Record] | None], bool, int | None]:
        """Return what is due, whether more is, and when the first is that is not due yet."""
        limit = room + len(hidden)
        rows = reader.execute(
            "SELECT position, attempts, condemned FROM deferred"
            " WHERE place = ? AND due <= ? ORDER BY due LIMIT ?",
            (self._place, time, limit),
        ).fetchall()
        (later,) = reader.execute(
            "SELECT min(due) FROM deferred WHERE place = ? AND due > ?", (self._place, time)
        ).fetchone()
        shown = [row for row in rows if row[0] not in hidden][:room]
        found: dict[int, Held[Record] | None] = {}
        for position, attempts, condemned in shown:
            row = reader.execute(self._query, (position,)).fetchone()
            why = None if condemned is None else decode_refusal(condemned)
            found[position] = None if row is None else Held(decode_record(*row), attempts, why)
        return found, len(rows) == limit, later
