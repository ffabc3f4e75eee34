"""A trigger's place in a log: what it has claimed, what waits, and its account."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from broker.channels.backlog import Backlog, Entry, Tally
from broker.errors import ChannelUnavailable
from broker.filters import Filter
from broker.ports import Outcome, Refusal

_log: Final = logging.getLogger("cemesh.channel")

_RETRY: Final = 1.0

E = TypeVar("E", bound=Entry)
E_co = TypeVar("E_co", bound=Entry, covariant=True)

Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Runs a coroutine beside all else, for as long as the channel is open."""


class Log(Protocol[E_co]):
    """A log as one trigger reads it. Both methods raise `ChannelUnavailable`."""

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[E_co], int]:
        """Return entries in (start, end] that are for the trigger, and up to where they reach."""
        ...

    async def fetch(self, positions: Sequence[int]) -> Sequence[E_co]:
        """Return the entries at these positions, in their order; one that is gone is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Held(Generic[E]):
    """An event that is claimed, or was and will be again."""

    entry: E
    attempts: int = 0
    condemned: Refusal | None = None


@dataclass(slots=True, kw_only=True)
class Stored:
    """A place as it was stored.

    ``filter``   the repr of the filter that the tally is by.
    ``read``     what matched up to here is in ``open``, or is done or put off.
    ``open``     position, attempts and condemnation of every claim that was out.
    ``left_at``  up to where the log had been swept when the trigger went.
    ``gone``     whether it was taken off, so that it holds nothing back.
    """

    trigger: str
    filter: str
    read: int
    open: list[tuple[int, int, Refusal | None]]
    tally: Tally
    delivered: int
    dead: int
    left_at: int
    gone: bool


class Place(Generic[E]):
    """See the module. Everything happens on the event loop.

    ``wake`` is called whenever there may be something to claim, ``changed`` whenever there is
    something new to store.
    """

    def __init__(
        self,
        stored: Stored,
        log: Log[E],
        *,
        swept: Callable[[], int],
        changed: Callable[[], None],
        spawn: Spawn,
    ) -> None:
        self.trigger = stored.trigger
        self.filter: Filter | None = None
        self.delivered = stored.delivered
        self.dead = stored.dead
        self.gone = stored.gone
        self.backlog: Backlog[E] = Backlog(read=stored.read, tally=stored.tally)
        self.filter_text = stored.filter
        self.left_at: int | None = stored.left_at
        self._open: dict[int, Held[E]] = {}
        self._returned: deque[Held[E]] = deque()  # these are in `_open` too
        self._unloaded = {position: (tries, why) for position, tries, why in stored.open}
        self._log = log
        self._swept = swept
        self._changed = changed
        self._spawn = spawn
        self._wake: Callable[[], None] | None = None
        self._filling = False

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, filter: Filter, wake: Callable[[], None]) -> None:
        """Begin to claim, or go on with another filter and wake."""
        text = repr(filter)
        if self.left_at is not None:
            # The retention may have removed what was counted for a trigger that had gone.
            counted = text == self.filter_text and not self.gone
            self.backlog.pick_up(left_at=self.left_at, swept=self._swept(), counted=counted)
        elif text != self.filter_text:
            self.backlog.refilter(self._swept())
        self.filter, self.filter_text, self._wake = filter, text, wake
        self.left_at, self.gone = None, False
        self._changed()
        self.fill()

    def leave(self) -> None:
        """Stop claiming."""
        self.backlog.put_down(self._swept())
        self.filter = self._wake = None
        self.left_at = self._swept()
        self._changed()

    @property
    def subscribed(self) -> bool:
        return self.filter is not None

    @property
    def returned(self) -> int:
        """How many events wait to be claimed that were claimed before."""
        return len(self._returned)

    # --- what comes in ---------------------------------------------------------------------

    def offer(self, entry: E) -> None:
        """Take in an event that matched as it was swept."""
        self.backlog.offer(entry)
        self._changed()
        self.wake()

    def wake(self) -> None:
        """There may be something to claim."""
        if self._wake is not None:
            self._wake()

    def fill(self) -> None:
        """See to it that what is next is read from the log, if there is room for it."""
        if not self._filling and self.subscribed and self.hungry():
            self._filling = True
            self._spawn(self._fill())
        elif not self._filling:
            self.filled()

    def hungry(self) -> bool:
        """Return whether there is something to read, and room for it."""
        return bool(self._unloaded) or self.backlog.wants_reading

    async def fill_with_due(self) -> None:
        """Give back what was put off and is due. Raises `ChannelUnavailable`."""

    def filled(self) -> None:
        """Nothing is left to read now."""

    async def _fill(self) -> None:
        try:
            while self.filter is not None and self.hungry():
                try:
                    await self._fill_once(self.filter)
                except ChannelUnavailable as error:
                    _log.warning("cannot read", extra={"trigger": self.trigger, "why": str(error)})
                    await asyncio.sleep(_RETRY)
                self.wake()
        finally:
            self._filling = False
            self.filled()

    async def _fill_once(self, filter: Filter) -> None:
        if self._unloaded:
            await self._load_open()
        await self.fill_with_due()
        if self.backlog.wants_reading:
            await self.backlog.read_chunk(
                lambda start, end: self._log.read(filter, start, end), self._swept
            )
        self._changed()

    async def _load_open(self) -> None:
        """Take up the claims that a former process did not settle."""
        wanted = dict(self._unloaded)
        for entry in await self._log.fetch(sorted(wanted)):
            attempts, condemned = wanted.pop(entry.position)
            del self._unloaded[entry.position]
            self.give_back(Held(entry, attempts, condemned))
        for position in wanted:  # the retention has removed them while the trigger was gone
            del self._unloaded[position]
            self.backlog.tally.matched -= 1

    # --- claims ----------------------------------------------------------------------------

    def claim(self) -> Held[E] | None:
        """Return the next event to deliver, or None where there is none at hand."""
        if self._returned:
            held = self._returned.popleft()
        else:
            entry = self.backlog.take()
            if entry is None:
                return None
            held = self._open[entry.position] = self.first_held(entry)
            self._changed()
        if self.hungry():
            self.fill()
        return held

    def first_held(self, entry: E) -> Held[E]:
        """Return what is known of an entry that is claimed for the first time."""
        return Held(entry)

    def settle(self, position: int, outcome: Outcome) -> None:
        self.close(position)
        match outcome:
            case Outcome.DELIVERED:
                self.delivered += 1
            case Outcome.DEAD_LETTERED:
                self.dead += 1

    def release(self, position: int) -> None:
        self._returned.appendleft(self._open[position])
        self.wake()

    def close(self, position: int) -> Held[E]:
        """Be done with a claim here: it is settled, or stored elsewhere."""
        self._changed()
        return self._open.pop(position)

    def give_back(self, held: Held[E]) -> None:
        """Let an event be claimed again, or for the first time, before all that is new."""
        self._open[held.entry.position] = held
        self._returned.append(held)

    # --- what is stored --------------------------------------------------------------------

    def open_items(self) -> list[tuple[int, int, Refusal | None]]:
        """Return position, attempts and condemnation of every claim that is out."""
        items = [(at, held.attempts, held.condemned) for at, held in self._open.items()]
        return items + [(at, *rest) for at, rest in self._unloaded.items()]

    # --- the account -----------------------------------------------------------------------

    @property
    def matched(self) -> int:
        return self.backlog.tally.matched

    @property
    def waiting(self) -> int:
        return len(self._open) + len(self._unloaded) + self.backlog.waiting

    def at_hand(self) -> Iterator[E]:
        """Yield what is claimed, and the oldest of what is buffered."""
        for held in self._open.values():
            yield held.entry
        first = self.backlog.oldest()
        if first is not None:
            yield first

    def oldest_needed(self) -> int:
        """Return the first position of the log that this trigger needs."""
        read, _ = self.backlog.as_stored()
        behind = (self._swept() if read is None else read) + 1
        return min((*self._open, *self._unloaded, behind))
