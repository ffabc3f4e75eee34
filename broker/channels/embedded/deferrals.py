"""The deliveries of one trigger that wait for their time, however many: they wait in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from broker.channels.embedded.records import (
    Record,
    decode_record,
    decode_refusal,
    encode_refusal,
)
from broker.channels.embedded.store import Row, Store, now
from broker.ports import Refusal


@dataclass(frozen=True, slots=True)
class Deferral:
    """When a delivery is due (microseconds since 1970), and what it is to come back with."""

    due: int
    attempts: int
    condemned: Refusal | None


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come."""

    record: Record
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
        self._log = log_table
        # Position → the row to be, or None for one to be deleted. What is being committed, or
        # was while a look into the file is under way, stays in `_saving`: the look may have
        # seen the file as it was before.
        self._unsaved: dict[int, Deferral | None] = {}
        self._saving: dict[int, Deferral | None] = {}
        self._looking = False
        self._saved = True

    def put(self, position: int, deferral: Deferral) -> None:
        self._unsaved[position] = deferral
        self.count += 1

    def take(self, due: Due) -> None:
        """Note that a delivery that was due has been claimed; its row goes."""
        self._unsaved[due.record.position] = None
        self.count -= 1

    @property
    def unsaved(self) -> int:
        return len(self._unsaved)

    def oldest_unsaved(self) -> int | None:
        """Return the lowest position that is deferred, but not in the file yet."""
        rows = {**self._saving, **self._unsaved}
        return min((at for at, row in rows.items() if row is not None), default=None)

    def take_changes(self) -> tuple[list[Row], list[Row]]:
        """Return the rows to write and those to delete, as being committed from now on."""
        self._saving.update(self._unsaved)
        taken, self._unsaved, self._saved = self._unsaved, {}, False
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
        for row in self._saving.values():
            if row is not None:
                self.next_due = row.due if self.next_due is None else min(self.next_due, row.due)
        self._saved = True
        self._forget()

    def failed(self) -> None:
        self._unsaved = {**self._saving, **self._unsaved}
        self._saving.clear()

    async def due(self, store: Store, room: int) -> Sequence[Due]:
        """Return up to ``room`` deliveries whose time has come, most overdue first.

        Each is to be claimed at once, by `take`. Raises `ChannelUnavailable`.
        """
        self._looking = True
        time = now()
        limit = room + len(self._unsaved) + len(self._saving)
        try:
            rows, later = await store.read(lambda reader: self._select(reader, time, limit))
        finally:
            self._looking = False
        fresh = [
            each
            for each in rows
            if each.record.position not in self._unsaved
            and each.record.position not in self._saving
        ]
        # A row committed during the look may be missing from it.
        dues = [row.due for row in self._saving.values() if row is not None]
        dues += [] if later is None else [later]
        self.next_due = time if len(rows) == limit else min(dues, default=None)
        if self._saved:
            self._forget()
        return fresh[:room]

    def _forget(self) -> None:
        if not self._looking:
            self._saving.clear()

    def _select(
        self, reader: sqlite3.Connection, time: int, limit: int
    ) -> tuple[list[Due], int | None]:
        rows = reader.execute(
            "SELECT d.attempts, d.condemned,"
            " l.position, l.at, l.hops, l.addressee, l.head, l.data"
            f" FROM deferred d JOIN {self._log} l ON l.position = d.position"
            " WHERE d.place = ? AND d.due <= ? ORDER BY d.due LIMIT ?",
            (self._place, time, limit),
        ).fetchall()
        (later,) = reader.execute(
            "SELECT min(due) FROM deferred WHERE place = ? AND due > ?", (self._place, time)
        ).fetchone()
        found = [
            Due(
                decode_record(*row[2:]),
                row[0],
                None if row[1] is None else decode_refusal(row[1]),
            )
            for row in rows
        ]
        return found, later
