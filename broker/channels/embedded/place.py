"""A trigger's place in its broker's log: what it has claimed, what waits, and its account."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from broker.channels.embedded.backlog import Backlog, Tally
from broker.channels.embedded.deferrals import Deferral, Deferrals
from broker.channels.embedded.records import (
    COLUMNS,
    Record,
    decode_record,
    encode_head,
    encode_open,
    encode_refusal,
)
from broker.channels.embedded.store import Store, now
from broker.channels.embedded.writing import Row
from broker.errors import ChannelUnavailable
from broker.filters import Filter
from broker.ports import Outcome, Refusal

_log: Final = logging.getLogger("cemesh.channel")

_UNSAVED: Final = 1_000
"""Deferrals and burials that may wait for a failing disk; beyond, a trigger claims no more."""

_RETRY: Final = 1.0
_DUE_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Held:
    """An event that is claimed, or was and will be again."""

    record: Record
    attempts: int = 0
    condemned: Refusal | None = None


@dataclass(slots=True, kw_only=True)
class Stored:
    """A place as its row in the file tells it; see ``schema.py`` for the columns."""

    id: int
    trigger: str
    filter: str
    read: int
    open: list[tuple[int, int, Refusal | None]]
    tally: Tally
    delivered: int
    dead: int
    left_at: int
    left_time: int
    gone: bool
    deferred: int
    next_due: int | None


class Place:
    """See the module. Everything happens on the event loop; the file is read in its threads.

    ``wake`` is called whenever there may be something to claim.
    """

    def __init__(
        self,
        stored: Stored,
        *,
        broker: int,
        log_table: str,
        store: Store,
        swept: Callable[[], int],
        changed: Callable[[Place], None],
    ) -> None:
        self.id = stored.id
        self.trigger = stored.trigger
        self.filter: Filter | None = None
        self.delivered = stored.delivered
        self.dead = stored.dead
        self.left_time = stored.left_time
        self.gone = stored.gone
        self.backlog = Backlog(stored.trigger, log_table, read=stored.read, tally=stored.tally)
        self.deferrals = Deferrals(
            stored.id, log_table, count=stored.deferred, next_due=stored.next_due
        )
        self._filter_text = stored.filter
        self._left_at: int | None = stored.left_at
        self._open: dict[int, Held] = {}
        self._returned: deque[Held] = deque()  # these are in `_open` too
        self._unloaded = {position: (tries, why) for position, tries, why in stored.open}
        self._buried: list[Row] = []
        self._burying: list[Row] = []
        self._broker = broker
        self._log_table = log_table
        self._store = store
        self._swept = swept
        self._changed = changed
        self._wake: Callable[[], None] | None = None
        self._filling = False
        self._timer: asyncio.TimerHandle | None = None

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, filter: Filter, wake: Callable[[], None]) -> None:
        """Begin to claim, or go on with another filter and wake."""
        text = repr(filter)
        if self._left_at is not None:
            # The retention may have removed what was counted for a trigger that had gone.
            counted = text == self._filter_text and not self.gone
            self.backlog.pick_up(left_at=self._left_at, swept=self._swept(), counted=counted)
        elif text != self._filter_text:
            self.backlog.refilter(self._swept())
        self.filter, self._filter_text, self._wake = filter, text, wake
        self._left_at, self.gone = None, False
        self._changed(self)
        self.fill()

    def leave(self) -> None:
        """Stop claiming."""
        self.backlog.put_down(self._swept())
        self.filter = self._wake = None
        self._left_at, self.left_time = self._swept(), now()
        if self._timer is not None:
            self._timer.cancel()
        self._changed(self)

    @property
    def subscribed(self) -> bool:
        return self.filter is not None

    # --- what comes in ---------------------------------------------------------------------

    def offer(self, record: Record) -> None:
        """Take in an event that matched as it was appended."""
        self.backlog.offer(record)
        self._changed(self)
        if self._wake is not None:
            self._wake()

    def fill(self) -> None:
        """See to it that what is due, and what is next in the log, is read from the file."""
        if not self._filling and self.subscribed and self._hungry():
            self._filling = True
            self._store.spawn(self._fill())
        elif not self._filling:
            self._arm()

    def _hungry(self) -> bool:
        return bool(self._unloaded) or self._due() or self.backlog.wants_reading

    def _due(self) -> bool:
        due = self.deferrals.next_due
        return due is not None and due <= now() and len(self._returned) < _DUE_AT_ONCE

    async def _fill(self) -> None:
        try:
            while self.filter is not None and self._hungry():
                try:
                    await self._fill_once(self.filter)
                except ChannelUnavailable as error:
                    _log.warning("cannot read", extra={"trigger": self.trigger, "why": str(error)})
                    await asyncio.sleep(_RETRY)
                if self._wake is not None:
                    self._wake()
        finally:
            self._filling = False
            self._arm()

    async def _fill_once(self, filter: Filter) -> None:
        if self._unloaded:
            await self._load_open()
        if self._due():
            for each in await self.deferrals.due(self._store, _DUE_AT_ONCE):
                if each is None:
                    self.backlog.tally.matched -= 1
                else:
                    self._give_back(Held(each.record, each.attempts, each.condemned))
        if self.backlog.wants_reading:
            await self.backlog.read_chunk(self._store, filter, self._swept)
        self._changed(self)

    async def _load_open(self) -> None:
        """Take up the claims that a former process did not settle."""
        wanted = dict(self._unloaded)

        def select(reader: sqlite3.Connection) -> list[Record]:
            query = f"SELECT {COLUMNS} FROM {self._log_table} WHERE position = ?"
            rows = (reader.execute(query, (position,)).fetchone() for position in sorted(wanted))
            return [decode_record(*row) for row in rows if row is not None]

        for record in await self._store.read(select):
            attempts, condemned = wanted.pop(record.position)
            del self._unloaded[record.position]
            self._give_back(Held(record, attempts, condemned))
        for position in wanted:  # the retention has removed them while the trigger was gone
            del self._unloaded[position]
            self.backlog.tally.matched -= 1

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.deferrals.next_due
        if self.subscribed and due is not None and len(self._returned) < _DUE_AT_ONCE:
            seconds = max(0.0, (due - now()) / 1e6)
            self._timer = asyncio.get_running_loop().call_later(seconds, self.fill)

    # --- claims ----------------------------------------------------------------------------

    def claim(self) -> Held | None:
        """Return the next event to deliver, or None where there is none at hand."""
        if self.deferrals.unsaved + len(self._buried) > _UNSAVED:
            return None
        if self._returned:
            held = self._returned.popleft()
        else:
            record = self.backlog.take()
            if record is None:
                return None
            held = self._open[record.position] = Held(record)
            self._changed(self)
        if self._hungry():
            self.fill()
        return held

    def settle(self, position: int, outcome: Outcome) -> None:
        self._close(position)
        match outcome:
            case Outcome.DELIVERED:
                self.delivered += 1
            case Outcome.DEAD_LETTERED:
                self.dead += 1

    def defer(
        self, position: int, delay: timedelta, attempts: int, condemned: Refusal | None
    ) -> None:
        self._close(position)
        due = now() + int(delay.total_seconds() * 1e6)
        self.deferrals.put(position, Deferral(due, attempts, condemned))

    def release(self, position: int) -> None:
        self._returned.appendleft(self._open[position])
        if self._wake is not None:
            self._wake()

    def bury(self, position: int, why: Refusal) -> None:
        event = self._close(position).record.event
        head, reason = encode_head(event), encode_refusal(why)
        self._buried.append(
            (self._broker, self.trigger, now(), reason, event.hops, head, event.data)
        )
        self.dead += 1

    def _close(self, position: int) -> Held:
        self._changed(self)
        return self._open.pop(position)

    def _give_back(self, held: Held) -> None:
        self._open[held.record.position] = held
        self._returned.append(held)

    # --- the file --------------------------------------------------------------------------

    def take_changes(self) -> tuple[Row, Sequence[Row], Sequence[Row], Sequence[Row]]:
        """Return the row of the place, and those deferred, not deferred any more, and buried."""
        read, tally = self.backlog.as_stored()
        open_items = [(at, held.attempts, held.condemned) for at, held in self._open.items()]
        open_items += [(at, *rest) for at, rest in self._unloaded.items()]
        row: Row = (
            *(self.id, self._broker, self.trigger, self._filter_text, read),
            *(encode_open(open_items), tally.matched, self.delivered, self.dead, tally.unread),
            *(*tally.gap, self._left_at, self.left_time, int(self.gone)),
        )
        deferred, undeferred = self.deferrals.take_changes()
        self._burying, self._buried = self._buried, []
        return row, deferred, undeferred, self._burying

    def committed(self) -> None:
        self._burying = []
        self.deferrals.committed()
        self.fill()

    def failed(self) -> None:
        self._buried = self._burying + self._buried
        self.deferrals.failed()
        self._changed(self)

    # --- the account -----------------------------------------------------------------------

    @property
    def matched(self) -> int:
        return self.backlog.tally.matched

    @property
    def waiting(self) -> int:
        claimed = len(self._open) + len(self._unloaded)
        return claimed + self.deferrals.count + self.backlog.waiting

    def oldest_at_hand(self) -> int | None:
        """Return when the oldest event in memory was accepted, in microseconds since 1970."""
        at = [held.record.at for held in self._open.values()]
        first = self.backlog.oldest()
        return min(at if first is None else [*at, first.at], default=None)

    def oldest_needed(self) -> int:
        """Return the first position of the log that this trigger needs, deferred rows aside."""
        read, _ = self.backlog.as_stored()
        needed = [*self._open, *self._unloaded, (self._swept() if read is None else read) + 1]
        unsaved = self.deferrals.oldest_unsaved()
        return min(needed if unsaved is None else [*needed, unsaved])
