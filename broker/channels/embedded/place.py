"""A trigger's place in its broker's log, and how it stands in the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from broker.channels.clock import after, now
from broker.channels.embedded.deferrals import Deferral, Deferrals
from broker.channels.embedded.reading import LogOfTrigger
from broker.channels.embedded.records import (
    Record,
    encode_head,
    encode_lines,
    encode_open,
    encode_refusal,
)
from broker.channels.embedded.store import Store
from broker.channels.embedded.writing import Row
from broker.channels.place import Held, Place, Stored
from broker.ports import Refusal

_UNSAVED: Final = 1_000
"""Deferrals and burials that may wait for a failing disk; beyond, a trigger claims no more."""

_DUE_AT_ONCE: Final = 100


@dataclass(slots=True, kw_only=True)
class StoredPlace(Stored):
    """A place as its row in the file tells it; see ``schema.py`` for the columns."""

    id: int
    left_time: int
    deferred: int
    next_due: int | None


class EmbeddedPlace(Place[Record]):
    """A place that also has deliveries wait for their time, and buries, in the same file."""

    def __init__(
        self,
        stored: StoredPlace,
        *,
        broker: int,
        log_table: str,
        store: Store,
        swept: Callable[[], int],
        changed: Callable[[EmbeddedPlace], None],
    ) -> None:
        super().__init__(
            stored,
            LogOfTrigger(store, log_table, stored.trigger),
            swept=swept,
            changed=lambda: changed(self),
            spawn=store.spawn,
        )
        self.id = stored.id
        self.left_time = stored.left_time
        self.deferrals = Deferrals(
            stored.id, log_table, count=stored.deferred, next_due=stored.next_due
        )
        self._buried: list[Row] = []
        self._burying: list[Row] = []
        self._broker = broker
        self._store = store
        self._timer: asyncio.TimerHandle | None = None

    def leave(self) -> None:
        super().leave()
        self.left_time = now()
        self._disarm()

    # --- what comes in ---------------------------------------------------------------------

    def hungry(self) -> bool:
        return super().hungry() or self._due()

    def _due(self) -> bool:
        due = self.deferrals.next_due
        return due is not None and due <= now() and self.returned < _DUE_AT_ONCE

    async def fill_with_due(self) -> None:
        if self._due():
            for held in await self.deferrals.due(self._store, _DUE_AT_ONCE):
                if held is None:
                    self.backlog.tally.matched -= 1
                else:
                    self.give_back(held)

    def filled(self) -> None:
        """Come back when the next delivery is due."""
        self._disarm()
        due = self.deferrals.next_due
        if self.subscribed and due is not None and self.returned < _DUE_AT_ONCE:
            seconds = max(0.0, (due - now()) / 1e6)
            self._timer = asyncio.get_running_loop().call_later(seconds, self.fill)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- claims ----------------------------------------------------------------------------

    def claim(self) -> Held[Record] | None:
        if self.deferrals.unsaved + len(self._buried) > _UNSAVED:
            return None
        return super().claim()

    def defer(
        self, position: int, delay: timedelta, attempts: int, condemned: Refusal | None
    ) -> None:
        if self.is_in_line(position):
            self.keep(position, delay, attempts, condemned)
            return
        self.close(position)
        self.deferrals.put(position, Deferral(after(delay), attempts, condemned))

    def bury(self, position: int, why: Refusal) -> None:
        event = self.close(position).entry.event
        head, reason = encode_head(event), encode_refusal(why)
        self._buried.append(
            (self._broker, self.trigger, now(), reason, event.hops, head, event.data, event.trace)
        )
        self.dead += 1

    # --- the file --------------------------------------------------------------------------

    def take_changes(self) -> tuple[Row, Sequence[Row], Sequence[Row], Sequence[Row]]:
        """Return the row of the place, and those deferred, not deferred any more, and buried."""
        read, tally = self.backlog.as_stored()
        row: Row = (
            *(self.id, self._broker, self.trigger, self.filter_text, read),
            *(encode_open(self.open_items()), tally.matched, self.delivered, self.dead),
            *(tally.unread, *tally.gap, self.left_at, self.left_time, int(self.gone)),
            encode_lines(self.due_items(), self.line_items()),
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
        self._changed()

    # --- the account -----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return super().waiting + self.deferrals.count

    def oldest_at_hand(self) -> int | None:
        """Return when the oldest event in memory was accepted, in microseconds since 1970."""
        return min((entry.at for entry in self.at_hand()), default=None)

    def oldest_needed(self) -> int:
        """Return the first position of the log that this trigger needs, deferred rows aside."""
        unsaved = self.deferrals.oldest_unsaved()
        needed = super().oldest_needed()
        return needed if unsaved is None else min(needed, unsaved)
