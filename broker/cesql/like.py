r"""LIKE patterns, matched without backtracking (CESQL 1.0, section 3.4.3).

``%`` stands for any characters, ``_`` for one; ``\%`` and ``\_`` for themselves. What stands
between two ``%`` is a chunk. The first and the last one have their place; each one in the middle
is taken where it is found first, since an earlier place never leaves less room for the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_PIECE: Final = re.compile(r"(%+)|(_+)|((?:[^\\%_]|\\[%_]?)+)")
_ESCAPE: Final = re.compile(r"\\([%_])")

_TRIES: Final = 2
"""How many places of a chunk are tried one by one, before all are found at once."""

_PART: Final = 64
"""How many characters of a chunk are looked up before it is asked how many places are left."""

_FEW: Final = 8
"""How few places are tried one by one."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A LIKE pattern; equal to another by its source text.

    ``source``     the text as it was written, with its escapes.
    ``prefix``     the text before the first wildcard, with escapes resolved.
    ``suffix``     the text after the last wildcard.
    ``literal``    the whole text, where there is no wildcard at all; else None.
    ``is_prefix``  whether it says "starts with ``prefix``" and no more, as ``abc%`` does.
    ``is_suffix``  whether it says "ends with ``suffix``" and no more, as ``%abc`` does.
    """

    source: str
    prefix: str = field(init=False, compare=False, repr=False)
    suffix: str = field(init=False, compare=False, repr=False)
    literal: str | None = field(init=False, compare=False, repr=False)
    is_prefix: bool = field(init=False, compare=False, repr=False)
    is_suffix: bool = field(init=False, compare=False, repr=False)
    _chunks: tuple[_Chunk, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        first, *others = chunks = tuple(_chunks(self.source))
        last = chunks[-1]
        anywhere = bool(others) and not any(chunk.size for chunk in others[:-1])
        values = {
            "prefix": first.head,
            "suffix": last.tail,
            "literal": first.head if not others and first.is_text else None,
            "is_prefix": anywhere and first.is_text and not last.size,
            "is_suffix": anywhere and last.is_text and not first.size,
            "_chunks": chunks,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def matches(self, text: str) -> bool:
        """Return whether the whole of ``text`` fits the pattern, case and all."""
        if self.literal is not None:
            return text == self.literal
        if self.is_prefix:
            return text.startswith(self.prefix)
        if self.is_suffix:
            return text.endswith(self.suffix)
        first, *middle = self._chunks
        if not middle:
            return len(text) == first.size and first.stands(text, 0)
        last = middle.pop()
        at, end = first.size, len(text) - last.size
        if at > end or not first.stands(text, 0) or not last.stands(text, end):
            return False
        for chunk in middle:
            found = chunk.find(text, at, end)
            if found is None:
                return False
            at = found + chunk.size
        return True


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Runs of text at their offsets, with ``_`` for every character between them."""

    runs: tuple[tuple[int, str], ...]
    size: int

    @property
    def head(self) -> str:
        """The text before the first ``_``."""
        return self.runs[0][1] if self.runs and self.runs[0][0] == 0 else ""

    @property
    def tail(self) -> str:
        """The text after the last ``_``."""
        offset, run = self.runs[-1] if self.runs else (0, "")
        return run if offset + len(run) == self.size else ""

    @property
    def is_text(self) -> bool:
        return len(self.head) == self.size

    def stands(self, text: str, at: int) -> bool:
        """Return whether it fits ``text`` from the index ``at`` on, where there is room for it."""
        for offset, run in self.runs:  # noqa: SIM110 - a generator takes three times as long
            if not text.startswith(run, at + offset):
                return False
        return True

    def find(self, text: str, start: int, end: int) -> int | None:
        """Return the first index from ``start`` on where it fits, and ends by ``end``."""
        last = end - self.size
        if start > last or not self.runs:
            return start if start <= last else None
        offset, run = self.runs[0]
        for _ in range(_TRIES):
            found = text.find(run, start + offset, last + offset + len(run))
            if found < 0:
                return None
            start = found - offset
            if self.stands(text, start):
                return start
            start += 1
        return self._search(text, start, end)

    def _search(self, text: str, start: int, end: int) -> int | None:
        """Do what `find` does, for all places at once, until only a few are left."""
        window = text[start:end]
        room = len(window) - self.size + 1
        places = _Places(window)
        left = (1 << room) - 1 if room > 0 else 0
        characters = self._characters()
        for offset in range(0, self.size, _PART):
            left &= places.of(characters[offset : offset + _PART]) >> offset
            if left.bit_count() <= _FEW:
                break
        while left:
            at = start + (left & -left).bit_length() - 1
            if self.stands(text, at):
                return at
            left &= left - 1
        return None

    def _characters(self) -> tuple[str | None, ...]:
        """Return its characters one by one, with None for ``_``."""
        characters: list[str | None] = [None] * self.size
        for offset, run in self.runs:
            characters[offset : offset + len(run)] = run
        return tuple(characters)


class _Places:
    """Where parts of a chunk fit one text: bit n is set where one does from index n on.

    Each half of a part is looked up once, however often it occurs. So the 8 KiB of ``_a_a_a…``
    take some hundred steps over the whole text, not thousands of steps from each place of it.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[tuple[str | None, ...], int] = {(None,): (1 << len(text)) - 1}

    def of(self, part: tuple[str | None, ...]) -> int:
        known = self._known.get(part)
        if known is None:
            half = len(part) // 2
            if half:
                known = self.of(part[:half]) & (self.of(part[half:]) >> half)
            else:
                known = self._of_character(part[0] or "")
            self._known[part] = known
        return known

    def _of_character(self, character: str) -> int:
        digits = defaultdict(lambda: "0", {ord(character): "1"})
        return int(self._text[::-1].translate(digits) or "0", 2)


def _chunks(source: str) -> Iterator[_Chunk]:
    runs: list[tuple[int, str]] = []
    size = 0
    for percents, underscores, text in _PIECE.findall(source):
        if percents:
            yield _Chunk(tuple(runs), size)
            runs, size = [], 0
        elif underscores:
            size += len(underscores)
        else:
            run = _ESCAPE.sub(r"\1", text) if "\\" in text else text
            runs.append((size, run))
            size += len(run)
    yield _Chunk(tuple(runs), size)
