"""What a commit stores, and the statements that store it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeVar

from broker.settings import MAX_SHARDS

T = TypeVar("T")
Row = tuple[object, ...]

_SHARDS: Final = MAX_SHARDS

_ROWS_AT_ONCE: Final = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""Rows in one statement; few different ones, so that SQLite's cache keeps them prepared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one commit stores for one broker, as rows."""

    broker: Row
    log: Sequence[Row] = ()
    places: Sequence[Row] = ()
    deferred: Sequence[Row] = ()
    undeferred: Sequence[Row] = ()
    buried: Sequence[Row] = ()


def transaction(writer: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
    """Return what ``change`` returns, committed; or roll back and raise what it raised."""
    writer.execute("BEGIN IMMEDIATE")
    try:
        result = change(writer)
        writer.execute("COMMIT")
    except BaseException:
        if writer.in_transaction:
            writer.execute("ROLLBACK")
        raise
    return result


def write_changes(
    writer: sqlite3.Connection, all_changes: Sequence[Changes], *, shard: int
) -> None:
    """Store the changes of all brokers, within a transaction.

    The ids of dead letters sort by their times, those of all shards together, and tell the shard
    (`shard_of`).
    """
    if not all_changes:  # after an outage: does the disk take anything again?
        writer.execute("UPDATE broker SET tail = tail")
    for changes in all_changes:
        broker = changes.broker[-1]
        writer.execute(
            "UPDATE broker SET tail = ?, total = ?, swept = ?, accepted = ? WHERE id = ?",
            changes.broker,
        )
        _append(writer, f"log_{broker}", changes.log)
        writer.executemany(
            "INSERT INTO place (id, broker, trigger, filter, read, open, matched, delivered, dead,"
            " backlog, gap_from, gap_to, left_at, left_time, gone, lines)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET filter = excluded.filter, read = excluded.read,"
            " open = excluded.open, matched = excluded.matched, delivered = excluded.delivered,"
            " dead = excluded.dead, backlog = excluded.backlog, gap_from = excluded.gap_from,"
            " gap_to = excluded.gap_to, left_at = excluded.left_at,"
            " left_time = excluded.left_time, gone = excluded.gone, lines = excluded.lines",
            changes.places,
        )
        writer.executemany(
            "INSERT OR REPLACE INTO deferred (place, position, due, attempts, condemned) "
            "VALUES (?, ?, ?, ?, ?)",
            changes.deferred,
        )
        writer.executemany(
            "DELETE FROM deferred WHERE place = ? AND position = ?", changes.undeferred
        )
        bury(writer, changes.buried, shard=shard)


def bury(writer: sqlite3.Connection, rows: Sequence[Row], *, shard: int) -> None:
    """Store dead letters, within a transaction: the columns of the table but for the id."""
    writer.executemany(
        "INSERT INTO dead_letter (id, broker, trigger, at, why, hops, head, data, trace) VALUES ("
        f"max(?3 * {_SHARDS} + {shard}, {_SHARDS} + coalesce("
        "(SELECT seq FROM sqlite_sequence WHERE name = 'dead_letter'), 0)),"
        " ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        rows,
    )


def _append(writer: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    """Insert the rows, many by one statement.

    Each call into SQLite lets go of the interpreter's lock and has to wait for it again, behind
    a busy event loop: with one call a row, a mesh under load accepted a fifth to a third less.
    """
    done = 0
    for size in _ROWS_AT_ONCE:
        insert = (
            f"INSERT INTO {table} (position, at, total, hops, addressee, head, data, trace)"
            " VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * size)
        )
        while len(rows) - done >= size:
            writer.execute(insert, tuple(chain.from_iterable(rows[done : done + size])))
            done += size
