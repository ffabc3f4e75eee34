"""The events of one trigger that are matched or still to be read, but not yet claimed."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from broker.event import Event

BUFFER_EVENTS: Final = 1_000
BUFFER_BYTES: Final = 8 << 20
"""Bounds of what one trigger keeps in memory of the events that it has not claimed."""


class Entry(Protocol):
    """An event in a log. ``size`` is what it takes in memory, in bytes."""

    @property
    def position(self) -> int: ...

    @property
    def event(self) -> Event: ...

    @property
    def size(self) -> int: ...


E = TypeVar("E", bound=Entry)

Read = Callable[[int, int], Awaitable[tuple[Sequence[E], int]]]
"""``read(start, end)`` returns entries of the trigger in (start, end], and up to where it came."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a place's matches were counted by. All positions are of the broker's log.

    ``unread``  events counted as matched that lie beyond what has been read.
    ``gap``     positions (from, to] that passed while the trigger was away: what matches
                among them is counted when it is read.
    """

    matched: int = 0
    unread: int = 0
    gap: tuple[int, int] = (0, 0)

    def uncount(self, read: int, swept: int) -> None:
        """Let everything beyond ``read`` be counted anew when it is read."""
        self.matched -= self.unread
        self.unread = 0
        self.gap = (read, swept)

    def read(self, position: int) -> None:
        """Count a match that has been read from the log."""
        start, end = self.gap
        if start < position <= end:
            self.matched += 1
        else:
            self.unread -= 1


class Backlog(Generic[E]):
    """A buffer at the head of the log's unread part.

    While the buffer has room, events come to it as they are swept, and the file is not read
    at all. One that finds no room leaves the trigger *behind*: from then on the log itself is
    its backlog, read in chunks as room comes, until it has caught up.
    """

    def __init__(self, *, read: int, tally: Tally) -> None:
        self.tally = tally
        self.behind = True
        self._read = read  # all up to here is in the buffer or was taken; of use while behind
        self._buffer: deque[E] = deque()
        self._bytes = 0
        self._refiltered = -1  # what is buffered up to here may have matched another filter
        self._epoch = 0  # changes when a chunk that is being read is of no use any more

    @property
    def waiting(self) -> int:
        return len(self._buffer) + self.tally.unread

    @property
    def has_room(self) -> bool:
        return len(self._buffer) < BUFFER_EVENTS and self._bytes < BUFFER_BYTES

    @property
    def wants_reading(self) -> bool:
        """Whether it is worth reading a chunk: behind, and half of the buffer free."""
        return (
            self.behind
            and len(self._buffer) <= BUFFER_EVENTS // 2
            and self._bytes <= BUFFER_BYTES // 2
        )

    def as_stored(self) -> tuple[int | None, Tally]:
        """Return up to where everything was taken, and the tally as seen from there.

        None stands for whatever has been swept.
        """
        if self._buffer and self._buffer[0].position <= self._refiltered:
            return self._stored_anew(self._buffer[0].position - 1)
        start, end = self.tally.gap
        counted_to = self._read if self.behind else end  # in the gap, by reading it
        return (
            self._buffer[0].position - 1 if self._buffer else self._read if self.behind else None,
            Tally(
                matched=self.tally.matched,
                unread=self.tally.unread + len(self._buffer),
                gap=(max(start, counted_to), end),
            ),
        )

    def _stored_anew(self, read: int) -> tuple[int, Tally]:
        """Let what matched an earlier filter be counted by the one that it is read again by."""
        older = sum(entry.position <= self._refiltered for entry in self._buffer)
        return read, Tally(
            matched=self.tally.matched - older,
            unread=self.tally.unread + len(self._buffer) - older,
            gap=(read, self._refiltered),
        )

    def oldest(self) -> E | None:
        return self._buffer[0] if self._buffer else None

    def offer(self, record: E) -> None:
        """Take in a match as it is swept."""
        self.tally.matched += 1
        if self.behind:
            self.tally.unread += 1
        elif self.has_room:
            self._push(record)
        else:
            self.tally.unread += 1
            self.behind = True
            self._read = record.position - 1

    def take(self) -> E | None:
        """Return the next event, or None where none is at hand."""
        if not self._buffer:
            return None
        record = self._buffer.popleft()
        self._bytes -= record.size
        return record

    def put_down(self, swept: int) -> None:
        """Let go of the buffer, as the trigger stops: the log still has what is in it."""
        read, self.tally = self.as_stored()
        self._epoch += 1
        self._refiltered = -1
        self._buffer.clear()
        self._bytes = 0
        self._read = swept if read is None else read
        self.behind = True

    def refilter(self, swept: int) -> None:
        """Count what is unread anew, as the filter has changed. What is buffered stays."""
        self._epoch += 1
        self._refiltered = swept
        if self.behind:
            self.tally.uncount(self._read, swept)

    def pick_up(self, *, left_at: int, swept: int, counted: bool) -> None:
        """Go on after having been away since ``left_at``.

        ``counted`` says whether the tally of what is unread still holds.
        """
        start, end = self.tally.gap
        unread_gap = max(start, self._read) < end
        self._epoch += 1
        if not counted or (unread_gap and left_at < swept):
            self.tally.uncount(self._read, swept)
        elif left_at < swept:
            self.tally.gap = (left_at, swept)
        self.behind = self._read < swept

    async def read_chunk(self, read: Read[E], swept: Callable[[], int]) -> int:
        """Read on in the log, up to what has been swept. Raises what ``read`` raises.

        Returns how many matches turn out to be gone: they were counted, and are not there any
        more now that all has been read.
        """
        epoch = self._epoch
        found, reached = await read(self._read, swept())
        if self._epoch != epoch:  # meanwhile put down, or filtered otherwise
            return 0
        for entry in found:
            self.tally.read(entry.position)
            self._push(entry)
        self._read = reached
        self.behind = reached < swept()
        gone = 0 if self.behind else max(0, self.tally.unread)
        self.tally.matched -= gone
        self.tally.unread -= gone
        return gone

    def _push(self, record: E) -> None:
        self._buffer.append(record)
        self._bytes += record.size
