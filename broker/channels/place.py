"""A trigger's place in a log: what it has claimed, what waits, and its account."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, cast

from broker.channels.backlog import Backlog, Entry
from broker.channels.claims import MAX_CONDEMNED, Claims
from broker.channels.clock import after
from broker.channels.line import StoredLine, key_of
from broker.channels.lines import Lines
from broker.channels.stored import Held, Log, Stored
from broker.errors import ChannelUnavailable
from broker.filters import Filter
from broker.ports import Outcome, Refusal

__all__ = ["Held", "Log", "Place", "Spawn", "Stored"]

_log: Final = logging.getLogger("cemesh.channel")

_RETRY: Final = 1.0

E = TypeVar("E", bound=Entry)

Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Runs a coroutine beside all else, for as long as the channel is open."""


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
        self._claims: Claims[E] = Claims(stored, on_due=self.wake)
        self._lines: Lines[E] = Lines(stored.lines)
        self._log = log
        self._swept = swept
        self._changed = changed
        self._spawn = spawn
        self._wake: Callable[[], None] | None = None
        self._filling = False
        self._told_crowded = False

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, filter: Filter, wake: Callable[[], None], *, ordered: bool = False) -> None:
        """Begin to claim, or go on with another filter, wake and order."""
        text = repr(filter)
        if ordered or self._lines.in_use:
            self._line_up(ordered=ordered, anew=text != self.filter_text or self.gone)
        if self.left_at is not None:
            # The retention may have removed what was counted for a trigger that had gone.
            counted = text == self.filter_text and not self.gone
            self.backlog.pick_up(left_at=self.left_at, swept=self._swept(), counted=counted)
        elif text != self.filter_text:
            self.backlog.refilter(self._swept())
        self.filter, self.filter_text, self._wake = filter, text, wake
        self.left_at, self.gone = None, False
        self._claims.turn_on()
        self._changed()
        self.fill()

    def _line_up(self, *, ordered: bool, anew: bool) -> None:
        """Go on in lines: strictly or not, and with what is in them judged anew or not.

        Nothing stands in line that another filter let in: what is in line is read again by the
        filter of then, so its count has to be by that.
        """
        if anew or not self._lines.in_use:
            self.backlog.put_down(self._swept())
        if anew:
            self.backlog.tally.matched -= self._lines.uncount()
        self._lines.enter([held.entry for held in self._claims.open.values()], strict=ordered)

    def leave(self) -> None:
        """Stop claiming."""
        self.backlog.put_down(self._swept())
        self._lines.put_down()
        self._claims.turn_off()
        self.filter = self._wake = None
        self.left_at = self._swept()
        self._changed()

    @property
    def subscribed(self) -> bool:
        return self.filter is not None

    @property
    def returned(self) -> int:
        """How many events wait to be claimed that were claimed before."""
        return len(self._claims.returned)

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
        return (
            bool(self._claims.unloaded) or self.backlog.wants_reading or self._lines.wants_reading
        )

    async def fill_with_due(self) -> None:
        """Give back what was put off and is due. Raises `ChannelUnavailable`."""

    def filled(self) -> None:
        """Nothing is left to read now."""

    def tell_unread(self, error: ChannelUnavailable) -> None:
        """Tell the operator that what is next cannot be read; it is tried again."""
        _log.warning("cannot read", extra={"trigger": self.trigger, "why": str(error)})

    async def _fill(self) -> None:
        try:
            while self.filter is not None and self.hungry():
                try:
                    await self._fill_once()
                except ChannelUnavailable as error:
                    self.tell_unread(error)
                    await asyncio.sleep(_RETRY)
                self.wake()
        finally:
            self._filling = False
            self.filled()

    async def _fill_once(self) -> None:
        for step in (self._load, self.fill_with_due, self._read_lines, self._read_backlog):
            # Meanwhile it may have left, and then where it stands must not move any more.
            if self.filter is not None:
                await step()
        self._changed()

    async def _load(self) -> None:
        if self._claims.unloaded:
            taken_up, gone = await self._claims.load(self._log, self.held_again)
            for entry in taken_up:
                self._lines.begin(entry)
            self.backlog.tally.matched -= gone
            self._tell_gone(gone)

    async def _read_lines(self) -> None:
        if self._lines.wants_reading:
            more, gone = await self._lines.read_on(self._read)
            self.backlog.tally.matched += more - gone
            self._tell_gone(gone)

    async def _read_backlog(self) -> None:
        if self.backlog.wants_reading:
            self._tell_gone(await self.backlog.read_chunk(self._read, self._swept))

    def _read(self, start: int, end: int) -> Awaitable[tuple[Sequence[E], int]]:
        return self._log.read(cast("Filter", self.filter), start, end)

    def _tell_gone(self, count: int) -> None:
        """Tell of events that waited for the trigger and are not in the log any more.

        While it is subscribed, only Kafka's own retention removes such, as it is configured.
        """
        if count:
            extra = {"trigger": self.trigger, "count": count}
            _log.error("events are gone: the retention removed them undelivered", extra=extra)

    # --- claims ----------------------------------------------------------------------------

    def claim(self) -> Held[E] | None:
        """Return the next event to deliver, or None where there is none at hand."""
        claims = self._claims
        if claims.returned:
            held = claims.returned.popleft()
        else:
            entry = self._in_turn() if self._lines.in_use else self.backlog.take()
            if entry is None:
                return None
            held = claims.open[entry.position] = self.first_held(entry)
            self._changed()
        if self.hungry():
            self.fill()
        return held

    def _in_turn(self) -> E | None:
        """Return the next event whose turn it is. Others are put in line meanwhile."""
        if self._claims.unloaded:  # their keys are busy, and not known yet
            return None
        entry = self._lines.next()
        self._tell_crowded()
        while entry is None and not (self._lines.is_crowded or self._claims.is_crowded):
            new = self.backlog.take()
            if new is None:
                break
            if self._lines.admit(new):
                entry = new
            self._changed()
        if entry is None and self.hungry():
            self.fill()
        return entry

    def _tell_crowded(self) -> None:
        """Tell the operator, who alone can mend it, once that nothing new is taken in."""
        if self._claims.is_roomy:
            self._told_crowded = False
        elif self._claims.is_crowded and self.backlog.waiting and not self._told_crowded:
            self._told_crowded = True
            why = (
                f"{MAX_CONDEMNED} events are parked, or wait for a dead-letter sink that does not "
                f"take them: see `cemesh parked list {self.trigger}`, and retry or skip them; or "
                "see to the sink"
            )
            extra = {"trigger": self.trigger, "why": why}
            _log.warning("trigger takes in nothing new", extra=extra)

    def first_held(self, entry: E) -> Held[E]:
        """Return what is known of an entry that is claimed for the first time."""
        return Held(entry)

    def held_again(self, entry: E, attempts: int, condemned: Refusal | None) -> Held[E]:
        """Return the same of one that was open in a former process, and stored like this."""
        return Held(entry, attempts, condemned)

    def settle(self, position: int, outcome: Outcome) -> None:
        self.close(position)
        match outcome:
            case Outcome.DELIVERED:
                self.delivered += 1
            case Outcome.DEAD_LETTERED:
                self.dead += 1

    def release(self, position: int) -> None:
        self._claims.release(position)
        self.wake()

    def close(self, position: int) -> Held[E]:
        """Be done with a claim here: it is settled, or stored elsewhere."""
        self._changed()
        held = self._claims.open.pop(position)
        if self._lines.in_use:
            self._lines.end(held.entry)
            self.wake()
        return held

    def give_back(self, held: Held[E]) -> None:
        """Let an event be claimed again, or for the first time, before all that is new."""
        self._claims.give_back(held)
        self._lines.begin(held.entry)

    # --- claims that are put off, but keep their place in line ---------------------------------

    def is_in_line(self, position: int) -> bool:
        """Return whether others of its key wait for this claim: put off, it is to be kept."""
        return self._lines.strict and key_of(self._claims.open[position].entry.event) is not None

    def keep(
        self, position: int, delay: timedelta, attempts: int, condemned: Refusal | None
    ) -> None:
        """Give a claim back for ``delay``, with what it is to come back with."""
        entry = self._claims.open[position].entry
        self._claims.put_off(Held(entry, attempts, condemned), after(delay))
        self._changed()

    # --- what is stored --------------------------------------------------------------------

    def open_items(self) -> list[tuple[int, int, Refusal | None]]:
        """Return position, attempts and condemnation of every claim that is out."""
        return self._claims.open_items()

    def due_items(self) -> list[tuple[int, int]]:
        """Return position and time, in microseconds since 1970, of those that wait for it."""
        return self._claims.due_items()

    def line_items(self) -> list[StoredLine]:
        """Return what is in line behind those that are out."""
        return self._lines.as_stored()

    # --- the account -----------------------------------------------------------------------

    @property
    def matched(self) -> int:
        return self.backlog.tally.matched

    @property
    def waiting(self) -> int:
        return len(self._claims) + self._lines.waiting + self.backlog.waiting

    def at_hand(self) -> Iterator[E]:
        """Yield what is claimed, and the oldest of what is buffered."""
        for held in self._claims.open.values():
            yield held.entry
        yield from self._lines.at_hand()
        first = self.backlog.oldest()
        if first is not None:
            yield first

    def oldest_needed(self) -> int:
        """Return the first position of the log that this trigger needs."""
        read, _ = self.backlog.as_stored()
        behind = (self._swept() if read is None else read) + 1
        in_line = self._lines.oldest_needed()
        return min((*self._claims.positions(), behind if in_line is None else in_line, behind))
