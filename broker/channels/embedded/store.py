"""The one thread that writes, the few that read, and the commits that many appends share.

Appends and cursor movements gather on the event loop while a commit is under way; the next
commit takes all of them, so the number of fsyncs follows the disk and not the load.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

from broker.channels.embedded.lock import held
from broker.channels.embedded.schema import Identity, errors_named, open_reader, open_writer
from broker.channels.embedded.writer import Writer
from broker.channels.embedded.writing import Changes, Row, bury, transaction, write_changes
from broker.errors import ChannelUnavailable

_log: Final = logging.getLogger("cemesh.channel")

T = TypeVar("T")

FILE_NAME: Final = "cemesh.db"

_LINGER: Final = 0.02
"""Seconds that cursor movements wait for an append to ride along with."""

_APART: Final = 0.002
"""Seconds from commit to commit, at least, where several appends come at a time.

A commit costs the processor as much as three events do. Without a pause, 2,000 events a second came
by one or two to a commit, and half of the processor's time went into commits.
"""

_SEVERAL: Final = 1.2

_CHECKPOINT_AFTER: Final = 64
"""Commits until what they have written is copied from the log of the file into the file itself.

Between two commits, when all who waited for the first have their answers, and long before SQLite
would do it within one, when 16 MiB have gathered: for that, all that came had to wait. It took the
99th percentile at 2,000 events a second, on a slow disk, to 0.35 to 0.77 of what it was, for 7 %
more of the processor; at full load, that cannot be seen.
"""

_RETRY: Final = 1.0
"""Seconds between attempts to store what a failing disk did not take."""

_READERS: Final = 2


class Changing(Protocol):
    """A channel, as the committer sees it. All its methods run on the event loop."""

    def take_changes(self) -> Changes | None:
        """Return what has changed since the last call, or None if nothing has."""
        ...

    def committed(self) -> None:
        """The changes last taken are durable."""
        ...

    def failed(self, error: ChannelUnavailable) -> None:
        """The changes last taken were not stored; they are to be offered again or refused."""
        ...


class _Connections(threading.local):
    """Each thread's own. Not a dataclass with slots: slots are shared by all threads.

    A connection that two threads share shows one of them the file as the other began to read.
    """

    reader: sqlite3.Connection | None = None


class Store:
    """The file, open. `open` it, `start` it; `stop` it, `close` it."""

    def __init__(self, folder: Path, shard: int = 0) -> None:
        self.path = folder / FILE_NAME
        self._shard = shard
        self.outage: str | None = None
        self._folder = folder
        self._channels: list[Changing] = []
        self._stirred = asyncio.Event()
        self._urgent = asyncio.Event()
        self._commits = 0  # since the last checkpoint
        self._appends = 0  # since the last commit began
        self._usual = 0.0  # how many there were in commits, later ones counting more
        self._began = 0.0
        self._closing = False
        self._tasks: asyncio.TaskGroup | None = None
        self._writing = Writer()
        self._reading = ThreadPoolExecutor(_READERS, "cemesh-reader")
        self._local = _Connections()
        self._readers: list[sqlite3.Connection] = []
        self._resources = ExitStack()

    async def open(self) -> None:
        """Open the file. Raises `DataDirectoryInUse` and `ChannelUnavailable`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._resources.enter_context(held(self._folder))
        except OSError as error:
            raise ChannelUnavailable(
                f"the data directory {self._folder} cannot be used: {error.strerror}"
            ) from error
        try:
            self._writer = await self._writing.do(lambda: open_writer(self.path))
        except BaseException:
            self._resources.close()
            raise
        self._identity = Identity(self.path)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Commit from now on, in ``tasks``."""
        self._tasks = tasks
        self._committer = tasks.create_task(self._commit_until_closed())

    async def stop(self) -> None:
        """Store what is left to store."""
        self._closing = True
        self.stir(urgent=True)
        await asyncio.wait([self._committer])
        await self._commit()
        if self.outage is not None:
            _log.error("cursors not stored", extra={"why": self.outage})

    async def close(self) -> None:
        """Let go of the file."""
        await self._writing.do(self._writer.close)
        self._writing.close()
        self._reading.shutdown()
        for reader in self._readers:
            reader.close()
        self._resources.close()

    def add(self, channel: Changing) -> None:
        self._channels.append(channel)

    def stir(self, *, urgent: bool) -> None:
        """Ask for a commit: at once, or within a moment where nobody waits for it."""
        self._stirred.set()
        if urgent:
            self._appends += 1
            self._urgent.set()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` as long as the store is open."""
        if self._tasks is None or self._closing:
            work.close()
        else:
            self._tasks.create_task(work)

    def check(self) -> None:
        """Raise `ChannelUnavailable` if events cannot be stored now."""
        self.check_outage()
        self.check_file()

    def check_file(self) -> None:
        """Raise `ChannelUnavailable` if the file is not where it was."""
        self._identity.check()

    def check_outage(self) -> None:
        """Raise `ChannelUnavailable` if the last commit failed, without looking at the disk."""
        if self.outage is not None:
            raise ChannelUnavailable(self.outage)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` in a reader thread. Raises `ChannelUnavailable`."""

        def run() -> T:
            with errors_named(self.path):
                return query(self._reader())

        return await asyncio.get_running_loop().run_in_executor(self._reading, run)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``change`` as a transaction of its own in the writer. Raises `ChannelUnavailable`."""

        def run() -> T:
            self._identity.check()
            with errors_named(self.path):
                return transaction(self._writer, change)

        return await self._writing.do(run)

    async def bury(self, letter: Row) -> None:
        """Store a dead letter that is no trigger's. Raises `ChannelUnavailable`."""
        await self.write(lambda writer: bury(writer, [letter], shard=self._shard))

    def _reader(self) -> sqlite3.Connection:
        if self._local.reader is None:
            self._local.reader = open_reader(self.path)
            self._readers.append(self._local.reader)
        return self._local.reader

    async def _commit_until_closed(self) -> None:
        while not self._closing:
            await self._stirred.wait()
            if self.outage is not None:
                await self._urgent.wait()  # an append, or the time to try again
            elif not self._urgent.is_set():
                await _within(self._urgent, _LINGER)
            await self._keep_apart()
            await self._commit()

    async def _keep_apart(self) -> None:
        """Let more appends come, unless they come one by one: by somebody who waits for each."""
        loop = asyncio.get_running_loop()
        pause = self._began + _APART - loop.time()
        if pause > 0 and self._usual > _SEVERAL and not self._closing:
            await asyncio.sleep(pause)
        self._began = loop.time()
        self._usual += (self._appends - self._usual) / 8
        self._appends = 0

    async def _commit(self) -> None:
        self._stirred.clear()
        self._urgent.clear()
        taken = {each: changes for each in self._channels if (changes := each.take_changes())}
        if not taken and self.outage is None:
            return
        try:
            stored = list(taken.values())
            await self.write(lambda writer: write_changes(writer, stored, shard=self._shard))
        except ChannelUnavailable as error:
            self.outage = str(error)
            for channel in taken:
                channel.failed(error)
            if not self._closing:
                asyncio.get_running_loop().call_later(_RETRY, lambda: self.stir(urgent=True))
        else:
            self.outage = None
            for channel in taken:
                channel.committed()
            await self._checkpoint_in_time()

    async def _checkpoint_in_time(self) -> None:
        self._commits += 1
        if self._commits < _CHECKPOINT_AFTER:
            return
        self._commits = 0
        with suppress(sqlite3.DatabaseError):  # which the next commit meets, too, if it lasts
            await self._writing.do(
                lambda: self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            )


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
