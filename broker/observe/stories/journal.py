"""Where the stories of one process are kept: a SQLite file, or memory, within bounds.

Stories are no part of what the mesh promises: a crash costs the last quarter of a second of them, a
disk that is full or failing those of its time, and no event, and no moment of an event's.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from broker.errors import CemeshError, ChannelUnavailable
from broker.observe.stories import reading
from broker.observe.stories.file import opened
from broker.observe.stories.recorder import Recorder
from broker.observe.stories.writing import Writing
from broker.ports.stories import Entry, FoundPage, Wanted

_log: Final = logging.getLogger("cemesh.stories")

T = TypeVar("T")

_PENDING: Final = 25
"""Blocks that may wait to be stored, some ten MiB. Beyond, they are dropped."""

_TELL: Final = 60.0
"""Seconds between two warnings that entries are lost."""

_OPENS_WITHIN: Final = 10.0
"""Seconds for which whoever asks waits for a mesh that starts."""

_BESIDE: Final = 100
"""Bytes that a block takes beside what is in it, roughly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How stories are kept: in this ``folder``, or in memory where that is None.

    Until they are of that ``age``, as many bytes as ``size``, whichever is less. ``sample`` is the
    share of events whose whole story is kept; of others it is only what went wrong.
    """

    folder: Path | None
    age: timedelta
    size: int
    sample: float = 1.0


class Journal:
    """The `Stories` of this process, while it is entered; ``recorder`` is what notes them."""

    def __init__(self, keeping: Keeping) -> None:
        self.recorder = Recorder(self._put, sample=keeping.sample)
        self._keeping = keeping
        self._thread = ThreadPoolExecutor(1, "cemesh-stories")
        self._pending = 0
        self._early: list[Writing] = []
        self._file: sqlite3.Connection | None = None
        self._is_tried = asyncio.Event()
        self._lost = 0
        self._tell_again = 0.0
        self._size = 0

    async def __aenter__(self) -> Self:
        """Open the file. Raises `CemeshError` where there can be none."""
        try:
            file = await self._do(lambda: opened(self._keeping.folder))
            self._size = await self._do(lambda: _size_of(file))
            self._file = file
        finally:
            self._is_tried.set()
        for each in self._early:
            self._put(each)
        self._early.clear()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.recorder.flush()
        file, self._file = self._file, None
        if file is not None:
            await self._do(file.close)
        self._thread.shutdown()

    # --- writing ---------------------------------------------------------------------------

    def _put(self, written: Writing) -> None:
        """Have this stored, behind the caller's back."""
        if self._file is None:  # not yet, or no more
            if len(self._early) < _PENDING:
                self._early.append(written)
            return
        if self._pending >= _PENDING:
            self._lose(written.count, "the disk does not keep up")
            return
        self._pending += 1
        loop = asyncio.get_running_loop()
        storing = loop.run_in_executor(self._thread, self._store, self._file, written)
        storing.add_done_callback(partial(self._stored, written.count))

    def _stored(self, count: int, storing: asyncio.Future[None]) -> None:
        self._pending -= 1
        if storing.cancelled():
            return
        error = storing.exception()
        if isinstance(error, sqlite3.Error):
            self._lose(count, str(error))
        elif error is not None:
            _log.error("stories not kept", exc_info=error, extra={"count": count})

    def _lose(self, count: int, why: str) -> None:
        self._lost += count
        now = time.monotonic()
        if now >= self._tell_again:
            self._tell_again = now + _TELL
            _log.warning("stories not kept", extra={"count": self._lost, "why": why})
            self._lost = 0

    def _store(self, file: sqlite3.Connection, written: Writing) -> None:
        block = written.block()
        if block is None:
            return
        size = len(block.keys) + len(block.names) + len(block.rows) + _BESIDE
        with _transaction(file):
            file.execute(
                "INSERT INTO block (first, last, flags, size, keys, names, rows)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*block[:3], size, *block[3:]),
            )
            freed = self._trim(file, self._size + size)
        self._size += size - freed

    def _trim(self, file: sqlite3.Connection, size: int) -> int:
        """Remove what is beyond the bounds; return how many bytes that were."""
        too_old = int((time.time() - self._keeping.age.total_seconds()) * 1e6)
        gone: list[int] = []
        freed = 0
        oldest = file.execute("SELECT id, last, size FROM block ORDER BY id")
        for block, last, bytes_of_it in oldest:
            if size - freed <= self._keeping.size and last >= too_old:
                break
            gone.append(block)
            freed += bytes_of_it
        oldest.close()
        file.executemany("DELETE FROM block WHERE id = ?", [(each,) for each in gone])
        return freed

    # --- reading ---------------------------------------------------------------------------

    async def of(self, ids: Collection[str]) -> Sequence[Entry]:
        """See `broker.ports.stories.Stories`."""
        self.recorder.flush()
        return await self._do(partial(reading.entries_of, await self._opened(), ids))

    async def search(self, wanted: Wanted, *, limit: int) -> FoundPage:
        """See `broker.ports.stories.Stories`."""
        self.recorder.flush()
        return await self._do(partial(reading.search, await self._opened(), wanted, limit))

    async def _opened(self) -> sqlite3.Connection:
        """Return the file, for which whoever asks as the mesh starts waits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPENS_WITHIN):
                await self._is_tried.wait()
        if self._file is None:
            raise ChannelUnavailable("the stories are not open: the mesh starts, or stops")
        return self._file

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise CemeshError(f"the stories cannot be read: {error}") from error


def _size_of(file: sqlite3.Connection) -> int:
    (size,) = file.execute("SELECT coalesce(sum(size), 0) FROM block").fetchone()
    return int(size)


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("BEGIN")
    try:
        yield
    except BaseException:
        file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")
