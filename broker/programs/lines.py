"""What a program writes, as lines that a log can take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

_LONGEST: Final = 4000
"""Bytes of a line that are kept; an ellipsis stands for the rest."""

_MOST: Final = 500
"""Lines in a second, beyond which they are only counted: the log is the mesh's as well."""

_SHORTEST: Final = 4
"""Characters of a secret that is not shown where a program writes it: shorter ones are words."""


class Concealed:
    """What is secret, as text is shown without it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [each for each in secrets if len(each) >= _SHORTEST]

    def out_of(self, text: str) -> str:
        """Return the text with ``***`` where a secret stood."""
        for each in self._secrets:
            text = text.replace(each, "***")
        return text


class Lines:
    """Gives ``say`` each line that is not empty, decoded; bytes that are not UTF-8 are escaped.

    ``last`` is the last of them, whether it was said or not.
    """

    def __init__(
        self, say: Callable[[str], None], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.last = ""
        self._say = say
        self._now = now
        self._rest = b""
        self._second = 0.0
        self._said = 0
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        """Take what was written next."""
        *whole, rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._line(line)
        self._rest = rest[: _LONGEST + 1]

    def end(self) -> None:
        """Take what has no line break behind it as a line as well."""
        self._line(self._rest)
        self._rest = b""
        self._tell_left_out()

    def _line(self, line: bytes) -> None:
        kept = line[:_LONGEST].strip()
        if not kept:
            return
        self.last = kept.decode(errors="backslashreplace") + "…" * (len(line) > _LONGEST)
        if (now := self._now()) - self._second >= 1:
            self._tell_left_out()
            self._second, self._said = now, 0
        if self._said < _MOST:
            self._said += 1
            self._say(self.last)
        else:
            self._left_out += 1

    def _tell_left_out(self) -> None:
        if self._left_out:
            self._say(f"… {self._left_out:,} lines left out: more than {_MOST} came in a second")
            self._left_out = 0
