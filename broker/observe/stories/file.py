"""The files that stories are in: the first that no other process has."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import CemeshError

_log: Final = logging.getLogger("cemesh.stories")

APPLICATION_ID: Final = 0x63657374  # "cest"
VERSION: Final = 1
MOST: Final = 256
"""Files that are looked at for one that is free."""

_TABLES: Final = """
CREATE TABLE block (                    -- see format.py
    id    INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,             -- microseconds since 1970, of the first and the last entry
    last  INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    size  INTEGER NOT NULL,             -- bytes
    keys  BLOB NOT NULL,
    names BLOB NOT NULL,
    rows  BLOB NOT NULL
) STRICT;
CREATE INDEX block_by_time ON block (last);
"""


def opened(folder: Path | None) -> sqlite3.Connection:
    """Open a file in the folder, or memory. Raises `CemeshError` where the folder is no use.

    Processes that share a folder have a file each. One that is damaged is put aside: what became
    of events is worth less than that they are delivered.
    """
    if folder is None:
        return _made(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CemeshError(
            f"stories cannot be kept in {folder}: {error.strerror}; name another folder with "
            "--stories-dir"
        ) from error
    for number in range(MOST):
        path = folder / f"stories-{number}.db"
        file = _open(path)
        if file is not None:
            return file
    raise CemeshError(f"all of the {MOST} files for stories in {folder} are in use")


def _open(path: Path) -> sqlite3.Connection | None:
    """Open the file and keep others from it; None where another process does."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            return None
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH):
            raise CemeshError(
                f"stories cannot be kept in {path}: {error}; mend that, or name another folder "
                "with --stories-dir"
            ) from error
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    for each in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{each}").unlink()
    _log.warning("stories begun anew", extra={"file": str(path), "kept_as": str(aside)})
    return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        file.execute("PRAGMA locking_mode = EXCLUSIVE")  # until the process ends, however it does
        file.execute("BEGIN IMMEDIATE")
        file.execute("COMMIT")
        _check(file)
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")  # no fsync but at a checkpoint
        return _made(file)
    except BaseException:
        file.close()
        raise


def _check(file: sqlite3.Connection) -> None:
    """Raise where the file is of another program, or of another version of this one."""
    (application,) = file.execute("PRAGMA application_id").fetchone()
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if not _is_empty(file) and (application, version) != (APPLICATION_ID, VERSION):
        error = sqlite3.DatabaseError("it is of another program, or another version of this one")
        error.sqlite_errorcode = sqlite3.SQLITE_MISMATCH
        raise error


def _is_empty(file: sqlite3.Connection) -> bool:
    (tables,) = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return not tables


def _made(file: sqlite3.Connection) -> sqlite3.Connection:
    """Return the file with its table."""
    if _is_empty(file):
        file.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            f"{_TABLES} COMMIT;"
        )
    return file
