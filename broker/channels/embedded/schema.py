"""The SQLite file: its tables, how it is opened, and what its errors mean to the user.

Exactly one connection of one thread can write, and does the checkpoints; every other one is
opened read-only. Besides keeping the waits short, this stays clear of the race between a
checkpoint and a write that SQLite had up to 3.51.2 where several connections do both.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.channels.embedded.formats import CHECKPOINT, PAUSE, VERSION, upgrade
from broker.errors import ChannelUnavailable

APPLICATION_ID: Final = 0x63656D65  # "ceme"
TABLES: Final = f"""{PAUSE}{CHECKPOINT}
CREATE TABLE broker (
    id       INTEGER PRIMARY KEY,
    key      TEXT NOT NULL UNIQUE,      -- namespace/name
    tail     INTEGER NOT NULL,          -- position of the newest event, never used again
    total    INTEGER NOT NULL,          -- bytes of all events ever appended
    swept    INTEGER NOT NULL,          -- every subscribed trigger has been asked up to here
    accepted INTEGER NOT NULL           -- events ever appended
) STRICT;

CREATE TABLE place (                    -- a trigger's place in its broker's log
    id        INTEGER PRIMARY KEY,
    broker    INTEGER NOT NULL REFERENCES broker,
    trigger   TEXT NOT NULL,            -- namespace/name
    filter    TEXT NOT NULL,            -- repr of the filter that the counts below are by
    read      INTEGER,                  -- what matched up to here is in open, deferred or done;
                                        -- NULL: up to the broker's swept
    open      TEXT NOT NULL,            -- JSON [[position, attempts, refusal | null], …]: claimed
    matched   INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    dead      INTEGER NOT NULL,
    backlog   INTEGER NOT NULL,         -- counted as matched, but beyond read
    gap_from  INTEGER NOT NULL,         -- not yet counted: beyond gap_from up to gap_to
    gap_to    INTEGER NOT NULL,
    left_at   INTEGER,                  -- swept when the trigger went; NULL: it is subscribed
    left_time INTEGER NOT NULL,         -- microseconds since 1970 when it went
    gone      INTEGER NOT NULL,         -- 1 when it left the manifests
    lines     TEXT,                     -- JSON: what waits in order of its key; NULL: nothing
    UNIQUE (broker, trigger)
) STRICT;

CREATE TABLE deferred (
    place     INTEGER NOT NULL REFERENCES place,
    position  INTEGER NOT NULL,
    due       INTEGER NOT NULL,         -- microseconds since 1970
    attempts  INTEGER NOT NULL,
    condemned TEXT,                     -- JSON of the refusal
    PRIMARY KEY (place, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX deferred_by_due ON deferred (place, due);

CREATE TABLE dead_letter (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    broker  INTEGER NOT NULL REFERENCES broker,
    trigger TEXT NOT NULL,
    at      INTEGER NOT NULL,           -- microseconds since 1970
    why     TEXT NOT NULL,              -- JSON of the refusal
    hops    INTEGER NOT NULL,
    head    TEXT NOT NULL,              -- JSON of the attributes
    data    BLOB,
    trace   TEXT                        -- the span that the event comes from, or NULL
) STRICT;
CREATE INDEX dead_letter_by_broker ON dead_letter (broker, id);
CREATE INDEX dead_letter_by_trigger ON dead_letter (broker, trigger, id);
"""

LOG_TABLE: Final = """
CREATE TABLE log_{broker:d} (
    position  INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,         -- microseconds since 1970 when accepted
    total     INTEGER NOT NULL,         -- bytes of all events up to this one
    hops      INTEGER NOT NULL,
    addressee TEXT,                     -- the one trigger it is for, or NULL
    head      TEXT NOT NULL,            -- JSON of the attributes
    data      BLOB,
    trace     TEXT                      -- the span that the event comes from, or NULL
) STRICT
"""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for reading and writing, made if it is new.

    Raises `ChannelUnavailable` if it is damaged, is not ours, or cannot be written.
    """
    with errors_named(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the file read-only."""
    with errors_named(path):
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA locking_mode = NORMAL")
    # Of a new file. Many events in a commit take a quarter less than with 4 KiB, few take the same.
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
    connection.execute("PRAGMA wal_autocheckpoint = 2000")  # 16 MiB: fewer, longer checkpoints
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA cache_size = -16384")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            f"{TABLES} COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise ChannelUnavailable(f"{path} is a SQLite file, but not one of cemesh")
    else:
        upgrade(connection, path, version)


class Identity:
    """Tells whether the file that is open is still the one that its path leads to.

    SQLite goes on writing to a file that was removed or replaced behind its back; what it
    then stores is lost with the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = self._now()

    def check(self) -> None:
        """Raise `ChannelUnavailable` if the path leads elsewhere, or nowhere."""
        if self._now() != self._opened:
            raise ChannelUnavailable(
                f"the data file {self._path} was removed or replaced while cemesh was using it; "
                "put it back, or restart cemesh to begin with what is there"
            )

    def _now(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self._path)  # noqa: PTH116, on the path of every commit
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino


_MEANINGS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space on it",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop cemesh, keep a copy of the file, and "
    "recover what it holds with: sqlite3 FILE .recover",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database, or its beginning is damaged; stop "
    "cemesh, and move the file away to begin with an empty one",
    sqlite3.SQLITE_READONLY: "the file may not be written; check its permissions",
    sqlite3.SQLITE_PERM: "the file may not be opened; check its permissions",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check its folder and permissions",
    sqlite3.SQLITE_IOERR: "the disk reports an error; look into the system's log",
    sqlite3.SQLITE_BUSY: "another program has locked the file; close it",
}


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `ChannelUnavailable` that names the file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        meaning = _MEANINGS.get(code)
        if meaning is None:
            raise
        raise ChannelUnavailable(f"the data file {path}: {error}: {meaning}") from error
