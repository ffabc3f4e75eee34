"""The file of what a job's program writes."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.programs import Lines

_LONGEST: Final = 1 << 20
"""Bytes that are kept of what one run writes."""


class OutputFile:
    """Keeps the beginning of what a program writes, as far as the disk takes it.

    Entered, the file is empty. Raises `OSError` when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _LONGEST

    def __enter__(self) -> Self:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file: int | None = os.open(self._path, flags, 0o600)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def feed(self, data: bytes) -> None:
        """Take what was written next."""
        kept, self._left = data[: self._left], max(0, self._left - len(data))
        if self._file is None or not kept:
            return
        try:
            os.write(self._file, kept)
        except OSError:  # a full disk is no reason to end what does not write to it itself
            self._close()

    def end(self) -> None:
        """Know that one of the streams has ended."""

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Errors:
    """Standard error: kept with the rest, and ``last`` is its last line."""

    def __init__(self, file: OutputFile) -> None:
        self._file = file
        self._lines = Lines(lambda _: None)

    @property
    def last(self) -> str:
        return self._lines.last

    def feed(self, data: bytes) -> None:
        """Take what was written next."""
        self._file.feed(data)
        self._lines.feed(data)

    def end(self) -> None:
        """Know that no more comes."""
        self._lines.end()
