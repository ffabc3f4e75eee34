"""The files that a pattern matches, through rotation, and how far each has been read."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast

from broker.ports import Json
from sources.file.matches import Match, matches, unreadable
from sources.file.tail import Line, Tail

_log: Final = logging.getLogger("cemesh.sources.file")

_LINES_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 1 << 20

_QUIET: Final = 30.0
"""Seconds without a change after which nobody writes any more to a file that was rotated away."""

_GONE: Final = 600.0
"""Seconds after which a file is forgotten that is not there: its disk may be mounted late."""

_OPEN: Final = 256
"""Files that are held open; of more, those are let go that have been quiet for longest."""

_PLACE_BYTES: Final = 56 << 10
"""What the places of all files may come to: less than a checkpoint takes, for paths can grow."""


class Tails:
    """Reads in turns all files that ``pattern`` matches, and to their end those that it matched.

    Everything here blocks, and is to be called by one thread at a time. ``now`` is a clock that
    never goes back, in seconds.
    """

    def __init__(self, pattern: str, *, longest: int, now: Callable[[], float]) -> None:
        self._pattern = pattern
        self._longest = longest
        self._now = now
        self._tails: list[Tail] = []
        """In the order in which they were met: of a path, the older file before the newer one."""
        self._known: dict[tuple[int, int], Tail] = {}
        self._remembered: list[Tail] = []
        self._troubles: list[str] = []
        self._turn = 0

    def restore(self, place: Json) -> None:
        """Take up what `place` returned in an earlier run."""
        files = cast("dict[str, list[tuple[str, str, int, str]]]", place)["files"]
        self._tails = [Tail(*each) for each in files]
        self._remembered = list(self._tails)

    @property
    def place(self) -> Json:
        """How far everything that `read` has returned comes."""
        return {"files": [_place(tail) for tail in self._tails]}

    def close(self) -> None:
        for tail in self._tails:
            tail.close()

    # --- which files -----------------------------------------------------------------------

    def look(self, *, from_end: bool = False) -> str | None:
        """Look for files and for what was added to them; return what is wrong, if anything.

        Files that are new are read from the beginning unless they are to be ``from_end``.
        """
        matched, troubles = matches(self._pattern)
        troubles, self._troubles = [*self._troubles, *troubles], []
        found: dict[Tail, Match] = {}
        waiting = 0
        room = _PLACE_BYTES - sum(map(_weight, self._tails))
        for match in matched:
            tail = self._known_as(match)
            if tail is None and room < _weight(Tail.met(match.paths[0], match.status)):
                waiting += 1
                continue
            try:
                if tail is None:
                    tail = self._meet(match, from_end=from_end)
                    room -= _weight(tail)
            except OSError as error:
                troubles.append(unreadable(match.paths[0], error))
                continue
            tail.at = tail.at if tail.at in match.paths else match.paths[0]
            found[tail] = match
        self._let_go()
        for tail in list(self._tails):
            try:
                self._look_at(tail, found.get(tail))
            except OSError as error:
                tail.give_up()
                troubles.append(unreadable(tail.at, error))
        if waiting:
            troubles.append(
                f"{waiting} of the files that match {self._pattern} have to wait: the places in "
                f"{len(self._tails)} are as many as can be kept; use several sources, or move "
                "files away that have been read"
            )
        if not troubles and not any(tail.matched or tail.is_open for tail in self._tails):
            troubles.append(f"nothing matches {self._pattern}")
        return troubles[0] if troubles else None

    def _known_as(self, match: Match) -> Tail | None:
        identity = (match.status.st_dev, match.status.st_ino)
        tail = self._known.get(identity)
        if tail is None and self._remembered:
            # Devices can be numbered anew with every boot. That it is not another file with the
            # same inode is found out when it is read.
            same = [each for each in self._remembered if each.inode == match.status.st_ino]
            same.sort(key=lambda each: each.path not in match.paths)
            if same:
                tail = same[0]
                self._remembered.remove(tail)
                self._known[identity] = tail
        return tail

    def _meet(self, match: Match, *, from_end: bool) -> Tail:
        tail = Tail.met(match.paths[0], match.status)
        if from_end:
            tail.open(match.status.st_ino)
            if tail.is_open:
                tail.to_the_end()
                tail.close()
        self._tails.append(tail)
        self._known[match.status.st_dev, match.status.st_ino] = tail
        return tail

    def _look_at(self, tail: Tail, match: Match | None) -> None:
        """Find out what there is to do with a file, which may have no name that matches by now."""
        now = self._now()
        rotated = match is None or tail.path not in match.paths
        if rotated and not tail.rotated:
            tail.changed_at = now
        left, tail.rotated, tail.matched = tail.matched, rotated, match is not None
        if match is None and not tail.is_open:
            gone = tail.changed_at <= now - _GONE
            if not ((left or gone) and self._find(tail)):
                tail.give_up()
                if gone:
                    _log.warning("file gone", extra={"file": tail.path, "offset": tail.offset})
                    self._forget(tail)
                return
        # What is open is asked itself: its name may be another file's since.
        status = tail.status() if match is None or tail.is_open else match.status
        tail.look(status, now)
        if tail.unread and not tail.is_open and self._may_open():
            tail.open(status.st_ino)
            tail.compare()

    def _find(self, tail: Tail) -> bool:
        """Look in its folder for a file that got another name while it was not open; open it."""
        folder, name = os.path.split(tail.path)
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return False
        for entry in entries:
            if entry.inode() != tail.inode or not entry.is_file(follow_symlinks=False):
                continue
            # Of what has not been read the name alone tells that it is the same file.
            if tail.offset or entry.name.startswith(name):
                tail.at = entry.path
                tail.open(tail.inode)
                if tail.is_open and tail.is_same:
                    return True
                tail.close()
        return False

    def _forget(self, tail: Tail) -> None:
        tail.close()
        self._tails.remove(tail)
        self._known = {key: each for key, each in self._known.items() if each is not tail}
        self._remembered = [each for each in self._remembered if each is not tail]

    def _may_open(self) -> bool:
        return sum(tail.is_open and tail.matched for tail in self._tails) < _OPEN

    def _let_go(self) -> None:
        """Close files, where too many are open to open another one."""
        if self._may_open():
            return
        idle = [tail for tail in self._tails if tail.is_open and tail.matched and not tail.unread]
        idle.sort(key=lambda tail: tail.changed_at)
        for tail in idle[: _OPEN // 2]:
            tail.close()

    # --- what is in them -------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """Whether there may be lines that `read` returns."""
        return bool(self._to_read())

    def read(self) -> list[Line]:
        """Return lines that are complete, of some of the files in turns, each in its order.

        A file that took the name of another one waits until that has been read to its end.
        """
        lines: list[Line] = []
        turns = self._to_read()
        start = self._turn % len(turns) if turns else 0
        for tail in [*turns[start:], *turns[:start]]:
            self._turn += 1
            most = _LINES_AT_ONCE - len(lines)
            lines += self._of(tail, partial(tail.read, most, self._longest))
            kept = sum(len(line.data) for line in lines)
            if len(lines) >= _LINES_AT_ONCE or kept >= _BYTES_AT_ONCE:
                break
        return lines

    def finish(self) -> list[Line]:
        """Return the last lines, without newline, of files that are rotated away and quiet.

        Those that no name matches are left by this.
        """
        before = self._now() - _QUIET
        lines: list[Line] = []
        for tail in list(self._tails):
            if tail.rotated and not tail.unread and tail.is_open and tail.changed_at <= before:
                lines += self._of(tail, partial(tail.rest, self._longest))
                if tail.is_open and not tail.matched:
                    self._forget(tail)
        return lines

    def _to_read(self) -> Sequence[Tail]:
        first = {tail.path: tail for tail in reversed(self._tails) if tail.unread}
        return [tail for tail in reversed(first.values()) if tail.is_open]

    def _of(self, tail: Tail, read: Callable[[], list[Line]]) -> list[Line]:
        try:
            return read()
        except OSError as error:
            tail.give_up()
            self._troubles.append(unreadable(tail.at, error))
            return []


def _place(tail: Tail) -> Json:
    return [tail.key, tail.path, tail.offset, tail.mark]


def _weight(tail: Tail) -> int:
    """Return how many bytes its place takes, wherever it comes."""
    return len(json.dumps(tail.path)) + 100
