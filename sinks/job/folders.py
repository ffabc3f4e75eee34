"""What is kept of each job: its event, what it wrote, and how it has ended."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from broker.event import Event

_log: Final = logging.getLogger("cemesh.sinks")

_ASKS_EVERY: Final = 0.1
"""Seconds after which a job is asked for again that another process runs, or still ends."""

_NAME: Final = re.compile(r"[0-9a-f]{64}")
_REMOVED: Final = re.compile(r"\.[0-9a-f]{64}\.removed")

_WELL: Final = b"exit code 0\n"


class JobFolder:
    """The folder of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.event = path / "event.json"
        self.output = path / "output"
        self._exit = path / "exit"

    def has_ended_well(self) -> bool:
        """Return whether the job is done, once and for all."""
        try:
            return self._exit.read_bytes() == _WELL
        except FileNotFoundError:
            return False

    @asynccontextmanager
    async def claimed(self) -> AsyncIterator[int]:
        """Wait until nobody else runs the job, and let nobody else while the context lasts.

        Nor while another process has the descriptor that it is entered with: so the leash of a
        program keeps a mesh off that is started again while the program still ends.
        """
        while (lock := self._lock()) is None:  # noqa: ASYNC110 - another process tells us nothing
            await asyncio.sleep(_ASKS_EVERY)
        try:
            yield lock
        finally:
            os.close(lock)

    def begin(self, event: bytes) -> None:
        """Return once the event is durable, and nothing is left of an attempt before."""
        self._exit.unlink(missing_ok=True)
        _write(self.event, event)
        _sync(self.path.parent)

    def finish(self, how: bytes | None) -> None:
        """Return once it is durable that the job has ended well, or ``how`` it has otherwise."""
        _write(self._exit, _WELL if how is None else how + b"\n")

    def remove_if_older(self, moment: float) -> None:
        """Remove the folder, unless it is in use or has a file changed since ``moment``."""
        lock = self._lock()
        if lock is None:
            return
        try:
            if any(each.stat().st_mtime > moment for each in self.path.iterdir()):
                return
            # At once for all others, who may just be opening the lock, and see that it is gone.
            gone = self.path.with_name(f".{self.path.name}.removed")
            self.path.rename(gone)
        finally:
            os.close(lock)
        shutil.rmtree(gone)

    def _lock(self) -> int | None:
        """Return what holds the lock as long as it is open, or None while others hold it."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except (BlockingIOError, FileNotFoundError):  # in use, or just removed
            pass
        os.close(lock)
        return None


class JobFolders:
    """The folders of a sink's jobs: ``name`` is that of the sink."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def of(self, event: Event) -> JobFolder:
        """Return the folder of the event's job, the same for all with its source and id."""
        said = "\0".join((self._name, event.source, event.id))  # which none of them contains
        return JobFolder(self._path / hashlib.sha256(said.encode()).hexdigest())

    def remove_older(self, age: timedelta) -> None:
        """Remove the folders of jobs that have ended longer ago than that."""
        before = time.time() - age.total_seconds()
        for each in self._named():
            try:
                if _REMOVED.fullmatch(each.name):  # a crash has left that
                    shutil.rmtree(each)
                elif _NAME.fullmatch(each.name):
                    JobFolder(each).remove_if_older(before)
            except FileNotFoundError:  # another process was faster
                continue
            except OSError as error:
                _log.warning("job not removed", extra={"why": str(error)})

    def _named(self) -> Sequence[Path]:
        try:
            return list(self._path.iterdir())
        except OSError:  # it is not there yet, or each attempt tells why it is of no use
            return []


def _write(path: Path, content: bytes) -> None:
    """Return once that is durably the content of the file, which is never there in part."""
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
