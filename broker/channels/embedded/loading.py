"""Reads brokers and places from the file as it is opened, and makes new ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from broker.channels.backlog import Tally
from broker.channels.clock import now
from broker.channels.embedded.place import StoredPlace
from broker.channels.embedded.records import decode_lines, decode_open
from broker.channels.embedded.schema import LOG_TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBroker:
    """A broker's row, and its places."""

    id: int
    key: str
    tail: int
    total: int
    accepted: int
    places: Sequence[StoredPlace]


def settle_accounts(writer: sqlite3.Connection) -> None:
    """Note where each trigger was when the process before this one ended, however it ended.

    A trigger counts as away from now on, not from then: it is not its fault that nothing ran. One
    that had left had read up to there, where it does not say otherwise.
    """
    swept = "(SELECT swept FROM broker WHERE broker.id = place.broker)"
    writer.execute(f"UPDATE place SET left_at = {swept} WHERE left_at IS NULL")
    writer.execute("UPDATE place SET read = left_at WHERE read IS NULL")
    writer.execute("UPDATE place SET left_time = ? WHERE gone = 0", (now(),))


def load_broker(writer: sqlite3.Connection, key: str) -> StoredBroker:
    """Return the broker of that key with its places, made if it is new."""
    query = "SELECT id, tail, total, accepted FROM broker WHERE key = ?"
    row = writer.execute(query, (key,)).fetchone()
    if row is None:
        writer.execute(
            "INSERT INTO broker (key, tail, total, swept, accepted) VALUES (?, 0, 0, 0, 0)", (key,)
        )
        row = writer.execute(query, (key,)).fetchone()
        writer.execute(LOG_TABLE.format(broker=row[0]))
    number, tail, total, accepted = row
    return StoredBroker(
        id=number,
        key=key,
        tail=tail,
        total=total,
        accepted=accepted,
        places=_load_places(writer, number),
    )


def last_place(writer: sqlite3.Connection) -> int:
    """Return the highest id of any place."""
    (last,) = writer.execute("SELECT coalesce(max(id), 0) FROM place").fetchone()
    return int(last)


def new_place(number: int, trigger: str, filter: str, swept: int) -> StoredPlace:
    """Return the place of a trigger that is new: it begins after what has been swept."""
    return StoredPlace(
        id=number,
        trigger=trigger,
        filter=filter,
        read=swept,
        open=[],
        tally=Tally(),
        delivered=0,
        dead=0,
        left_at=swept,
        left_time=now(),
        gone=False,
        deferred=0,
        next_due=None,
    )


def _load_places(writer: sqlite3.Connection, broker: int) -> list[StoredPlace]:
    waiting = {
        place: (count, next_due)
        for place, count, next_due in writer.execute(
            "SELECT place, count(*), min(due) FROM deferred"
            " WHERE place IN (SELECT id FROM place WHERE broker = ?) GROUP BY place",
            (broker,),
        )
    }
    places = []
    for row in writer.execute(
        "SELECT id, trigger, filter, read, open, matched, delivered, dead, backlog,"
        " gap_from, gap_to, left_at, left_time, gone, lines FROM place WHERE broker = ?",
        (broker,),
    ):
        in_order = decode_lines(row[14])
        deferred, next_due = waiting.get(row[0], (0, None))
        places.append(
            StoredPlace(
                id=row[0],
                trigger=row[1],
                filter=row[2],
                read=row[3],
                open=decode_open(row[4]),
                tally=Tally(matched=row[5], unread=row[8], gap=(row[9], row[10])),
                delivered=row[6],
                dead=row[7],
                left_at=row[11],
                left_time=row[12],
                gone=bool(row[13]),
                due=in_order.due,
                lines=in_order.lines,
                deferred=deferred,
                next_due=next_due,
            )
        )
    return places
