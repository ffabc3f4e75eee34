"""The events of one partition key, which are delivered one at a time: the others stand in line.

A key that is held up costs a bounded number of events in memory. What comes after those stays in
the log: the line notes from where on, up to where and how many, and is read on when it moves.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final, Generic, NamedTuple, TypeVar

from broker.channels.backlog import Entry
from broker.event import Event

_KEY_CHARACTERS: Final = 64

E = TypeVar("E", bound=Entry)


def key_of(event: Event) -> str | None:
    """Return what stands for the event's key, or None where it has none.

    That is the attribute ``partitionkey`` (CloudEvents Partitioning Extension), or a digest of
    one that is long, since it is stored again and again. Where two keys share one, they share a
    line.
    """
    key = event.attributes.get("partitionkey")
    if key is None or len(key) <= _KEY_CHARACTERS:
        return key
    return blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()


class StoredLine(NamedTuple):
    """A line as it is stored: ``waiting`` events of ``key`` lie in the log in (after, last]."""

    key: str
    after: int
    last: int
    waiting: int


class Line(Generic[E]):
    """The events of one key that are taken in and not done with.

    ``begun`` counts those handed out: claimed, returned, or put off. ``parked`` are next. Behind
    them, ``count`` more are noted: they lie in the log in (after, last].
    """

    __slots__ = ("after", "begun", "count", "last", "parked")

    def __init__(self, *, begun: int = 0, after: int = -1, last: int = -1, count: int = 0) -> None:
        self.begun = begun
        self.parked: deque[E] = deque()
        self.after = after
        self.last = last
        self.count = count

    @property
    def is_noted(self) -> bool:
        return self.after < self.last

    def note(self, entry: E) -> None:
        if not self.is_noted:
            self.after = entry.position - 1
        self.last = entry.position
        self.count += 1

    def stored(self, key: str) -> StoredLine | None:
        """Return where all of the line is in the log, those in memory too; None for nowhere."""
        if not self.parked:
            return StoredLine(key, self.after, self.last, self.count) if self.is_noted else None
        after = self.parked[0].position - 1
        last = self.last if self.is_noted else self.parked[-1].position
        return StoredLine(key, after, last, self.count + len(self.parked))
