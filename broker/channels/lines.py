"""All lines of an ordered trigger: whose turn it is, and what of them is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

from broker.channels.backlog import BUFFER_BYTES, Entry, Read
from broker.channels.line import Line, StoredLine, key_of

MAX_KEYS: Final = 1_000
"""Keys of which events are under way or wait; a trigger with as many takes in nothing new."""

LINE_EVENTS: Final = 100
LINES_EVENTS: Final = 5_000
LINES_BYTES: Final = BUFFER_BYTES
"""Bounds of what is in memory of one line, and of all. Each may have one event in any case."""

E = TypeVar("E", bound=Entry)


class Lines(Generic[E]):
    """The lines of one trigger.

    While it is ``strict``, an event gets its turn when none of its key is begun. Otherwise no
    new lines form, and those that are there give out what is in them as soon as it is at hand.

    ``waiting`` counts what is in line. Without bounds, all of it is in memory.
    """

    def __init__(self, stored: Iterable[StoredLine] = (), *, bounded: bool = True) -> None:
        self.strict = False
        self._bounded = bounded
        self._lines: dict[str, Line[E]] = {
            line.key: Line(after=line.after, last=line.last, count=line.waiting) for line in stored
        }
        self.waiting = sum(line.count for line in self._lines.values())
        self._ready: dict[str, None] = {}  # whose turn it is, in turn
        self._starved: dict[str, None] = {}  # whose turn it is too, but what is next is in the log
        self._events = 0  # in memory
        self._bytes = 0
        self._epoch = 0  # changes when a chunk that is being read is of no use any more

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def in_use(self) -> bool:
        """Whether there is anything to do by them: if not, whatever is next has its turn."""
        return self.strict or bool(self._lines)

    @property
    def is_crowded(self) -> bool:
        """Whether so many keys are busy that nothing new may be taken in."""
        return self.strict and self._bounded and len(self._lines) >= MAX_KEYS

    @property
    def wants_reading(self) -> bool:
        return bool(self._starved)

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, begun: Iterable[E], *, strict: bool) -> None:
        """Go on with these begun, strictly or not."""
        self.strict = strict
        for line in self._lines.values():
            line.begun = 0
        for entry in begun:
            self.begin(entry)
        for key in list(self._lines):
            self._see_to(key)

    def put_down(self) -> None:
        """Let go of what is in memory, as the trigger stops: the log still has it."""
        self._epoch += 1
        for key, line in list(self._lines.items()):
            stored = line.stored(key)
            if stored is not None:
                _, line.after, line.last, line.count = stored
            line.parked.clear()
            self._see_to(key)
        self._events = self._bytes = 0

    def uncount(self) -> int:
        """Let all that is in line be judged and counted anew as it is read, by another filter.

        Returns how many events that is.
        """
        self.put_down()
        counted, self.waiting = self.waiting, 0
        for line in self._lines.values():
            line.count = 0
        return counted

    # --- turns -----------------------------------------------------------------------------

    def admit(self, entry: E) -> bool:
        """Take in a new event; return whether it is its turn at once. It has begun then."""
        key = key_of(entry.event)
        if key is None:
            return True
        line = self._lines.get(key)
        if line is None:
            if self.strict:
                self._lines[key] = Line(begun=1)
            return True
        self.waiting += 1
        if not line.is_noted and self._has_room(line):
            self._park(line, entry)
        else:
            line.note(entry)
        return False

    def next(self) -> E | None:
        """Return an event from a line whose turn it is, or None. It has begun then."""
        if not self._ready:
            return None
        key = next(iter(self._ready))
        line = self._lines[key]
        entry = line.parked.popleft()
        self._events -= 1
        self._bytes -= entry.size
        self.waiting -= 1
        line.begun += 1
        self._see_to(key)
        return entry

    def begin(self, entry: E) -> None:
        """Note that an event has begun that did not come through here."""
        key = key_of(entry.event)
        if key is not None and (self.strict or key in self._lines):
            self._lines.setdefault(key, Line()).begun += 1
            self._see_to(key)

    def end(self, entry: E) -> None:
        """Note that an event which had begun is done with: it is the turn of the next."""
        key = key_of(entry.event)
        if key is not None and key in self._lines:
            self._lines[key].begun -= 1
            self._see_to(key)

    def _see_to(self, key: str) -> None:
        """See to it that the line stands where its next step comes from."""
        line = self._lines[key]
        self._ready.pop(key, None)
        self._starved.pop(key, None)
        if self.strict and line.begun:
            return
        if line.parked:
            self._ready[key] = None
        elif line.is_noted:
            self._starved[key] = None
        else:
            del self._lines[key]

    # --- memory, and the log ---------------------------------------------------------------

    async def read_on(self, read: Read[E]) -> tuple[int, int]:
        """Read on from where the hindmost line is that has its turn and nothing in memory.

        Lines that are noted from further on take what is theirs in passing. Returns how many
        events match that were not counted, and how many were and are gone. Raises what ``read``
        raises.
        """
        epoch = self._epoch
        start = min(self._lines[key].after for key in self._starved)
        lines = {
            key: line for key, line in self._lines.items() if line.is_noted and line.after >= start
        }
        found, reached = await read(start, max(line.last for line in lines.values()))
        if self._epoch != epoch:
            return 0, 0
        more, gone = -self.waiting, 0
        full = self._take(lines, found)
        more += self.waiting
        for key, line in lines.items():
            if key not in full:
                line.after = max(line.after, min(reached, line.last))
            if not line.is_noted:
                gone += line.count
                line.count = 0
            self._see_to(key)
        self.waiting -= gone
        return more, gone

    def _take(self, lines: dict[str, Line[E]], found: Iterable[E]) -> set[str]:
        """Park what belongs into these lines; return those that had no room for all of it."""
        full: set[str] = set()
        for entry in found:
            key = key_of(entry.event)
            if key is None or key not in lines or key in full:
                continue
            line = lines[key]
            if not line.after < entry.position <= line.last:
                continue
            if not self._has_room(line):
                full.add(key)
                continue
            self._park(line, entry)
            line.after = entry.position
            if line.count:
                line.count -= 1
            else:  # uncounted
                self.waiting += 1
        return full

    def _has_room(self, line: Line[E]) -> bool:
        return (
            not line.parked
            or not self._bounded
            or (
                len(line.parked) < LINE_EVENTS
                and self._events < LINES_EVENTS
                and self._bytes < LINES_BYTES
            )
        )

    def _park(self, line: Line[E], entry: E) -> None:
        line.parked.append(entry)
        self._events += 1
        self._bytes += entry.size

    # --- what is stored, and the account ---------------------------------------------------

    def as_stored(self) -> list[StoredLine]:
        """Return all lines in which something waits."""
        stored = (line.stored(key) for key, line in self._lines.items())
        return [line for line in stored if line is not None]

    def at_hand(self) -> Iterator[E]:
        """Yield what is next in each line, if it is in memory."""
        return (line.parked[0] for line in self._lines.values() if line.parked)

    def oldest_needed(self) -> int | None:
        """Return the first position of the log that is needed for what is in line."""
        return min((line.after + 1 for line in self.as_stored()), default=None)
