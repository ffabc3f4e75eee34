"""A file of lines that several processes may append to, and that is rotated."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_log: Final = logging.getLogger("cemesh.sinks")

_LAST_LINE: Final = 1 << 20
"""Bytes in which the beginning of a line that was not finished is looked for."""


class Rotated:
    """Lines in ``path``; older ones in ``path.1``, ``path.2`` … up to ``keep``.

    A file is put aside before it would have more than ``max_bytes``, never where that is None. Not
    for several threads. Who writes holds a lock on ``path.lock``.
    """

    def __init__(self, path: Path, *, max_bytes: int | None, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._file: int | None = None

    def append(self, lines: bytes) -> None:
        """Return once the lines are durable, or raise `OSError` and have written none of them."""
        with self._locked():
            file = self._opened()
            size = os.fstat(file).st_size
            if self._max_bytes is not None and size and size + len(lines) > self._max_bytes:
                file, size = self._rotated(), 0
            try:
                _write(file, lines)
                os.fdatasync(file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, size)
                self.close()
                raise

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _opened(self) -> int:
        """Return the file that ``path`` leads to now, which others may have rotated."""
        if self._file is not None and not _is_at(self._file, self.path):
            self.close()
        if self._file is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o644)
            self._finish_last_line(self._file)
            _sync_folder(self.path)
        return self._file

    def _rotated(self) -> int:
        """Put the file aside, forget the oldest, and return a new one."""
        self.close()
        for number in range(self._keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")  # noqa: PTH105
        os.replace(self.path, f"{self.path}.1")  # noqa: PTH105
        return self._opened()

    def _finish_last_line(self, file: int) -> None:
        """Cut off a line that a crash has left unfinished: nobody was told that it is there.

        What might be a line that somebody else has written without a line break gets one.
        """
        size = os.fstat(file).st_size
        if not size or os.pread(file, 1, size - 1) == b"\n":
            return
        start = max(0, size - _LAST_LINE)
        tail = os.pread(file, size - start, start)
        last = tail[tail.rfind(b"\n") + 1 :]
        if last.startswith((b"{", b"[", b'"')) and not _is_json(last):
            os.ftruncate(file, size - len(last))
            extra = {"file": str(self.path), "bytes": len(last)}
            _log.warning("unfinished line removed", extra=extra)
        else:
            _write(file, b"\n")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        there = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return False
    here = os.fstat(file)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync_folder(path: Path) -> None:
    """Make durable that the file is there."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
