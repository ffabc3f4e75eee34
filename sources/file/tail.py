"""One file that is read as it grows, and what tells it from another one in its place."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

_log: Final = logging.getLogger("cemesh.sources.file")

_CHUNK: Final = 64 << 10
_CHUNKS_AT_ONCE: Final = 16
"""Of a line that is longer than one: how many are searched for its end before others are read."""

_MARK: Final = 1 << 10
"""Bytes before the place that has been reached, by which it is found to be the same file."""

SHOWN: Final = 1 << 10
"""Bytes that are kept of a line that is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the file that was met as ``path``: where it begins there, and what it is.

    ``data`` is without the newline, and the beginning alone of one that is ``too_long``, in bytes.
    """

    id: str
    path: str
    offset: int
    data: bytes
    too_long: int | None = None


class Tail:
    """A file, and how far it has been read; ``path`` is what it was called when it was met.

    ``key`` is its inode and when that had last been changed as the file was met: what it is called
    later does not change it, and another file that is given the inode has another one. ``mark``
    stands for the bytes before ``offset``. Whatever is read has to follow them, so that a file
    that was emptied, or replaced while nobody looked, is noticed and read anew.
    """

    def __init__(self, key: str, path: str, offset: int = 0, mark: str | None = None) -> None:
        self.key = key
        self.path = path
        self.at = path
        self.offset = offset
        self.mark = _mark(b"") if mark is None else mark
        self.changed_at = float("-inf")
        self.unread = False
        self.rotated = False
        self.matched = True
        self._searched = offset
        self._searched_mark = ""
        self._fd: int | None = None
        self._seen: tuple[int, int] | None = None

    @classmethod
    def met(cls, path: str, status: os.stat_result) -> Tail:
        return cls(_key(status), path)

    @property
    def inode(self) -> int:
        return int(self.key.partition(".")[0], 16)

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    def open(self, inode: int) -> None:
        """Hold on to the file, so that its inode is given to no other one; raises `OSError`.

        Nothing is held where another file has its name by now.
        """
        fd = os.open(self.at, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if os.fstat(fd).st_ino == inode:
            self._fd = fd
        else:
            os.close(fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def give_up(self) -> None:
        """Let go of a file that cannot be read, until it is looked at again."""
        self.close()
        self.unread = False
        self._seen = None

    def status(self) -> os.stat_result:
        return os.fstat(self._open_fd)

    @property
    def is_same(self) -> bool:
        """Whether what has been read still stands in it."""
        return self._mark_before(self.offset) == self.mark

    def look(self, status: os.stat_result, now: float) -> None:
        """Find out from ``status`` whether there may be something to read; raises `OSError`."""
        seen = (status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            self._seen = seen
            self.changed_at = now
            self.unread = True
            self.compare()

    def compare(self) -> None:
        """Begin anew at once, not when it is read, where it is open and is another file."""
        if self.is_open and not self.is_same:
            self._begin_anew()

    def to_the_end(self) -> None:
        """Pass over all lines that are there; what has no newline yet will be one."""
        end = self.status().st_size
        while end:
            begin = max(0, end - _CHUNK)
            found = os.pread(self._open_fd, end - begin, begin).rfind(b"\n") + 1
            if found:
                self._reach(begin + found)
                return
            end = begin

    def read(self, most: int, longest: int) -> list[Line]:
        """Return up to ``most`` lines; none where there is no newline in what was looked at.

        Begins anew where the file is not the one that was read before.
        """
        fd, known = self._open_fd, min(self.offset, _MARK)
        data = os.pread(fd, known + _CHUNK, self.offset - known)
        if _mark(data[:known]) != self.mark:
            self._begin_anew()
            return []
        if b"\n" not in data[known:]:
            if len(data) == known + _CHUNK:
                return self._read_long(longest)
            self._searched = self.offset + len(data) - known
            self.unread = False
            return []
        lines, start = [], known
        for stop in _newlines(data, known, most):
            lines.append(self._line(self.offset + start - known, data[start:stop], longest))
            start = stop + 1
        self.mark = _mark(data[max(0, start - _MARK) : start])
        self.offset = self._searched = self.offset + start - known
        return lines

    def rest(self, longest: int) -> list[Line]:
        """Return what is left of a file that nobody writes to any more, though it has no newline.

        It is to have been read to its end.
        """
        end = self._searched
        if end == self.offset:
            return []
        line = self._long_line(end, longest)
        self._reach(end)
        return [line]

    def _read_long(self, longest: int) -> list[Line]:
        """Go on searching for the end of a line that is not in its first chunk."""
        if self._mark_before(self._searched) != self._searched_mark:
            self._searched = self.offset + _CHUNK
        for _ in range(_CHUNKS_AT_ONCE):
            data = os.pread(self._open_fd, _CHUNK, self._searched)
            found = data.find(b"\n")
            if found >= 0:
                line = self._long_line(self._searched + found, longest)
                self._reach(self._searched + found + 1)
                return [line]
            self._searched += len(data)
            if len(data) < _CHUNK:
                self.unread = False
                break
        self._searched_mark = self._mark_before(self._searched)
        return []

    def _long_line(self, end: int, longest: int) -> Line:
        length = end - self.offset
        kept = length if length <= longest else min(length, SHOWN)
        data = os.pread(self._open_fd, kept, self.offset)
        return self._line(self.offset, data, longest, length)

    def _line(self, offset: int, data: bytes, longest: int, length: int | None = None) -> Line:
        length = len(data) if length is None else length
        too_long = length if length > longest else None
        kept = data.removesuffix(b"\r") if too_long is None else data[:SHOWN]
        # The checksum keeps two lines from sharing an id where a crash comes between emitting the
        # first ones of a file and saving that, and the file is replaced before the next start.
        return Line(
            id=f"{self.key}.{offset}.{zlib.crc32(kept):08x}",
            path=self.path,
            offset=offset,
            data=kept,
            too_long=too_long,
        )

    def _reach(self, offset: int) -> None:
        self.mark = self._mark_before(offset)
        self.offset = self._searched = offset

    def _mark_before(self, offset: int) -> str:
        known = min(offset, _MARK)
        return _mark(os.pread(self._open_fd, known, offset - known))

    def _begin_anew(self) -> None:
        _log.warning("file begins anew", extra={"file": self.at, "offset": self.offset})
        key = _key(self.status())
        # Emptied within a tick of the clock after it was met: the same time again.
        self.key = f"{self.key}.anew" if self.key.startswith(key) else key
        self.path = self.at
        self.offset = self._searched = 0
        self.mark = _mark(b"")

    @property
    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError(f"{self.at} is not open")
        return self._fd


def _key(status: os.stat_result) -> str:
    return f"{status.st_ino:x}.{status.st_ctime_ns:x}"


def _mark(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def _newlines(data: bytes, start: int, most: int) -> Iterator[int]:
    for _ in range(most):
        found = data.find(b"\n", start)
        if found < 0:
            return
        yield found
        start = found + 1
