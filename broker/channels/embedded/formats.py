"""The formats of the SQLite file: what makes one of another, and which ones can be gone on with."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from broker.errors import ChannelUnavailable

VERSION: Final = 5
"""The format: the lower half of the file's user_version.

In the upper half a later version of cemesh can say the oldest format that can go on with what it
has written, so that a rollback loses nothing. So do the formats that only add tables, and columns
that may be NULL. 0 says that it is none but this one.
"""

_OLDEST: Final = 1 << 16

PAUSE: Final = """
CREATE TABLE pause (                    -- a trigger that gets nothing until it is resumed
    broker  INTEGER NOT NULL REFERENCES broker,
    trigger TEXT NOT NULL,
    why     TEXT NOT NULL,
    since   INTEGER NOT NULL,           -- microseconds since 1970
    destination TEXT,                   -- the subscriber that it is about, or NULL
    PRIMARY KEY (broker, trigger)
) STRICT, WITHOUT ROWID;
"""

CHECKPOINT: Final = """
CREATE TABLE checkpoint (               -- how far a source has come
    broker  INTEGER NOT NULL REFERENCES broker,
    source  TEXT NOT NULL,              -- Kind namespace/name
    place   BLOB NOT NULL,              -- what it said itself
    PRIMARY KEY (broker, source)
) STRICT, WITHOUT ROWID;
"""

_TRACE: Final = "ADD COLUMN trace TEXT"

UPGRADES: Final = {
    1: "ALTER TABLE place ADD COLUMN lines TEXT",
    2: PAUSE,
    3: CHECKPOINT,
    4: f"ALTER TABLE dead_letter {_TRACE}",
}
"""What makes a file of the next format of one of that format."""

UPGRADES_OF_LOGS: Final = {4: f"ALTER TABLE log_{{broker:d}} {_TRACE}"}
"""What it takes besides, for the log of each broker."""


def upgrade(connection: sqlite3.Connection, path: Path, said: int) -> None:
    """Bring a file of another format to this one, in place, or raise and leave it as it is.

    One of a later format that this one can go on with becomes one of this format again, since what
    is written now has nothing of the later one's. The later version then upgrades it anew, and
    must do without what it finds there already.
    """
    oldest, version = divmod(said, _OLDEST)
    if 0 < oldest <= VERSION < version:
        connection.execute(f"PRAGMA user_version = {VERSION}")
        return
    if version > VERSION:
        raise ChannelUnavailable(
            f"{path} has format {version}, of a later version of cemesh; this one reads format "
            f"{VERSION}. The file is as it was: run the later version again"
        )
    while version in UPGRADES:
        changes = [UPGRADES[version]]
        if version in UPGRADES_OF_LOGS:
            brokers = connection.execute("SELECT id FROM broker").fetchall()
            changes += [UPGRADES_OF_LOGS[version].format(broker=each) for (each,) in brokers]
        connection.executescript(
            f"BEGIN; {'; '.join(changes)}; PRAGMA user_version = {version + 1}; COMMIT;"
        )
        version += 1
    if version != VERSION:
        raise ChannelUnavailable(
            f"{path} has format {version}; this version of cemesh reads format {VERSION}"
        )
