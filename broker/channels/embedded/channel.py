"""The channel of one broker: append, sweep, and hand to the triggers that match."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime

from broker.channels.embedded.appends import Appends, resolve
from broker.channels.embedded.checkpoints import EmbeddedCheckpoints
from broker.channels.embedded.cursor import EmbeddedCursor
from broker.channels.embedded.deadletters import EmbeddedDeadLetters
from broker.channels.embedded.history import Window, read_history
from broker.channels.embedded.loading import StoredBroker
from broker.channels.embedded.pauses import EmbeddedPauses
from broker.channels.embedded.place import EmbeddedPlace, StoredPlace
from broker.channels.embedded.records import Record, moment
from broker.channels.embedded.store import Store
from broker.channels.embedded.writing import Changes, Row
from broker.channels.history import position_number
from broker.channels.observers import Observers
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import Filter, FilterIndex
from broker.ports import Books, Refusal
from broker.ports import Stored as StoredEvent


class EmbeddedChannel:
    """See `broker.ports.Channel`.

    Everything but the queries happens on the event loop, in this order: `append` queues its
    events; the store takes what is queued (`take_changes`) and commits it; then `committed`
    *sweeps*: it matches each new event once against an index of all filters and offers it to
    the places that match. What a commit stores of the places is what the sweeps before it led
    to, so after a crash nothing is skipped: an event that was stored but not swept lies
    beyond the stored ``swept``.
    """

    def __init__(
        self, store: Store, stored: StoredBroker, new_place: Callable[[str, str, int], StoredPlace]
    ) -> None:
        self.key = stored.key
        self.dead_letters = EmbeddedDeadLetters(store, stored.id)
        self.pauses = EmbeddedPauses(store, stored.id)
        self.checkpoints = EmbeddedCheckpoints(store, stored.id)
        self._id = stored.id
        self._log = f"log_{stored.id}"
        self._store = store
        self._appends = Appends(
            store.path, tail=stored.tail, total=stored.total, accepted=stored.accepted
        )
        self._swept = stored.tail
        self._index = FilterIndex()
        self._new_stored = new_place
        self._places = {each.trigger: self._place(each) for each in stored.places}
        self._cursors: dict[str, EmbeddedCursor] = {}
        self._taken_places: list[EmbeddedPlace] = []
        self._changed: dict[int, EmbeddedPlace] = {}
        self._news = False
        self._commits: list[asyncio.Future[None]] = []
        self._taken_commits: list[asyncio.Future[None]] = []
        self._observers = Observers()
        self._at_rest: Mapping[int, int] = {}

    async def bury(self, event: Event, why: Refusal) -> None:
        await self.dead_letters.put(event, why)

    async def alone(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """See `broker.ports.Channel`. No other process has this file."""
        await work()

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        await self.submit(events, to=to)

    def submit(self, events: Sequence[Event], *, to: str | None = None) -> asyncio.Future[None]:
        """See `broker.ports.FutureChannel`."""
        self._store.check_outage()  # what else may be wrong, the commit will find
        durable = self._appends.put(events, to)
        self._store.stir(urgent=True)
        return durable

    def take_changes(self) -> Changes | None:
        if not (self._appends or self._changed or self._commits or self._news):
            return None
        self._news = False
        self._taken_commits, self._commits = self._commits, []
        self._taken_places, self._changed = list(self._changed.values()), {}
        log, (tail, total, accepted) = self._appends.take()
        places: list[Row] = []
        deferred: list[Row] = []
        undeferred: list[Row] = []
        buried: list[Row] = []
        for place in self._taken_places:
            row, put, taken, graves = place.take_changes()
            places.append(row)
            deferred += put
            undeferred += taken
            buried += graves
        return Changes(
            broker=(tail, total, self._swept, accepted, self._id),
            log=log,
            places=places,
            deferred=deferred,
            undeferred=undeferred,
            buried=buried,
        )

    def committed(self) -> None:
        records = self._appends.committed()
        for place in self._taken_places:
            place.committed()
        for commit in self._taken_commits:
            resolve(commit)
        self._taken_places, self._taken_commits = [], []
        if records:
            self._sweep(records)
            self._news = True  # what has been swept is worth storing, though nobody waits for it
            self._store.stir(urgent=False)

    def failed(self, error: ChannelUnavailable) -> None:
        self._appends.failed(error)
        for commit in self._taken_commits:
            resolve(commit, error)
        for place in self._taken_places:
            place.failed()
        self._taken_places, self._taken_commits = [], []
        self._news = True

    def _sweep(self, records: Iterable[Record]) -> None:
        for record in records:
            self._swept = record.position
            if record.addressee is None:
                for trigger in self._index.matching(record.event.attributes):
                    self._places[trigger].offer(record)
            elif record.addressee in self._cursors:
                self._places[record.addressee].offer(record)
            self._observers.show(record.event)

    # --- triggers --------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AsyncIterator[EmbeddedCursor]:
        known = self._places.get(trigger)
        place = known or self._new_place(trigger, filter)
        former = self._cursors.get(trigger)
        cursor = self._cursors[trigger] = EmbeddedCursor(place, window)
        if former is not None:
            former.retire()
        self._index.put(trigger, filter)
        place.enter(filter, cursor.wake, ordered=ordered)
        try:
            if known is None:
                await self._commit()  # so that a crash does not make it a new trigger again
            yield cursor
        finally:
            cursor.retire()
            cursor.return_claims()
            if self._cursors.get(trigger) is cursor:
                del self._cursors[trigger]
                self._index.discard(trigger)
                place.leave()

    async def unsubscribe(self, trigger: str) -> None:
        place = self._places.get(trigger)
        if place is not None and not place.subscribed:
            place.gone = True
            self._place_changed(place)
            await self._commit()

    async def triggers(self) -> Collection[str]:
        return [key for key, place in self._places.items() if not place.gone]

    def _new_place(self, trigger: str, filter: Filter) -> EmbeddedPlace:
        place = self._place(self._new_stored(trigger, repr(filter), self._swept))
        self._places[trigger] = place
        return place

    def _place(self, stored: StoredPlace) -> EmbeddedPlace:
        return EmbeddedPlace(
            stored,
            broker=self._id,
            log_table=self._log,
            store=self._store,
            swept=lambda: self._swept,
            changed=self._place_changed,
        )

    def _place_changed(self, place: EmbeddedPlace) -> None:
        self._changed[place.id] = place
        self._store.stir(urgent=False)

    async def _commit(self) -> None:
        """Return once all that has changed so far is durable. Raises `ChannelUnavailable`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.append(done)
        self._store.stir(urgent=True)
        await done

    # --- looking on ------------------------------------------------------------------------

    async def check(self) -> None:
        self._store.check()

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[StoredEvent]:
        self._store.check_file()
        window = Window(after=position_number(after), until=self._appends.tail, since=since, id=id)
        return await read_history(self._store, self._log, window, limit)

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._observers.follow()

    async def accepted(self) -> int:
        return self._appends.accepted

    async def books(self) -> Mapping[str, Books]:
        subscribed = {key: place for key, place in self._places.items() if place.subscribed}
        with suppress(ChannelUnavailable):  # what is waited for is as old as it was, then
            self._at_rest = await self._store.read(self._oldest_at_rest)
        at_rest = self._at_rest
        return {
            key: self._account(place, at_rest.get(place.id)) for key, place in subscribed.items()
        }

    def _account(self, place: EmbeddedPlace, oldest_deferred: int | None) -> Books:
        oldest = [at for at in (place.oldest_at_hand(), oldest_deferred) if at is not None]
        return Books(
            matched=place.matched,
            delivered=place.delivered,
            dead_lettered=place.dead,
            waiting=place.waiting,
            oldest_waiting=moment(min(oldest)) if oldest and place.waiting else None,
        )

    def _oldest_at_rest(self, reader: sqlite3.Connection) -> dict[int, int]:
        return dict(
            reader.execute(
                "SELECT oldest.place, l.at FROM"
                " (SELECT place, min(position) AS position FROM deferred"
                " WHERE place IN (SELECT id FROM place WHERE broker = ?) GROUP BY place) oldest"
                f" JOIN {self._log} l ON l.position = oldest.position",
                (self._id,),
            )
        )

    # --- retention -------------------------------------------------------------------------

    def needed(self, left_before: int) -> tuple[int, list[int]]:
        """Return the first position that a trigger needs, and the ids of those that need any.

        A trigger that has gone, or that has been away since before ``left_before``
        (microseconds since 1970), needs nothing.
        """
        needing = [
            place
            for place in self._places.values()
            if place.subscribed or (not place.gone and place.left_time >= left_before)
        ]
        first = min((place.oldest_needed() for place in needing), default=self._swept + 1)
        return first, [place.id for place in needing]

    def forget_places(self, left_before: int) -> list[int]:
        """Forget the triggers that have been away since before then; return their ids."""
        forgotten = [
            (key, place)
            for key, place in self._places.items()
            if not place.subscribed and place.left_time < left_before
        ]
        for key, place in forgotten:
            del self._places[key]
            self._changed.pop(place.id, None)
        return [place.id for _, place in forgotten]

    @property
    def log_table(self) -> str:
        return self._log

    @property
    def id(self) -> int:
        return self._id
