"""Lines of a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line without its end. ``number`` counts from 1; ``data`` is None where it is too long."""

    number: int
    data: bytes | None


class Lines:
    """Keeps a line that is not whole yet, up to ``longest`` bytes of it."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._too_long = False
        self._number = 0

    def take(self, piece: bytes) -> Iterator[Line]:
        """Yield the lines that end in this piece, those aside that are empty."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            yield from self._end(part)
        self._add(rest)

    def finish(self) -> Iterator[Line]:
        """Yield the last line, if it has no end of its own."""
        yield from self._end(b"")

    def _add(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._longest + 1:  # one for a carriage return
            self._too_long = True
        self._rest = b"" if self._too_long else self._rest + part

    def _end(self, part: bytes) -> Iterator[Line]:
        self._add(part)
        self._number += 1
        data = self._rest.removesuffix(b"\r")
        too_long = self._too_long or len(data) > self._longest
        self._rest, self._too_long = b"", False
        if too_long or data.strip():
            yield Line(number=self._number, data=None if too_long else data)
