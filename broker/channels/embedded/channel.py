"""The channel of one broker: append, sweep, and hand to the triggers that match."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from broker.channels.embedded.cursor import EmbeddedCursor
from broker.channels.embedded.deadletters import EmbeddedDeadLetters
from broker.channels.embedded.loading import StoredBroker
from broker.channels.embedded.place import Place, Stored
from broker.channels.embedded.records import OVERHEAD, Record, encode_head, moment
from broker.channels.embedded.store import Changes, Row, Store, now
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.filters import Filter, FilterIndex
from broker.ports import Books

MAX_PENDING_EVENTS: Final = 100_000
MAX_PENDING_BYTES: Final = 64 << 20
"""What may wait for its commit; beyond, `append` refuses."""

_TAIL_BUFFER: Final = 1_000


@dataclass(slots=True)
class _Append:
    """One call of `append`, until its commit."""

    events: Sequence[tuple[Event, str, int]]  # with its head and size
    to: str | None
    durable: asyncio.Future[None]


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
        self, store: Store, stored: StoredBroker, new_place: Callable[[str, str, int], Stored]
    ) -> None:
        self.key = stored.key
        self.dead_letters = EmbeddedDeadLetters(store, stored.id)
        self._id = stored.id
        self._log = f"log_{stored.id}"
        self._store = store
        self._tail = self._swept = stored.tail
        self._total = stored.total
        self._accepted = stored.accepted
        self._index = FilterIndex()
        self._new_stored = new_place
        self._places = {each.trigger: self._place(each) for each in stored.places}
        self._cursors: dict[str, EmbeddedCursor] = {}
        self._queue: deque[_Append] = deque()
        self._queued_events = 0
        self._queued_bytes = 0
        self._taken: list[_Append] = []
        self._taken_records: list[Record] = []
        self._taken_places: list[Place] = []
        self._changed: dict[int, Place] = {}
        self._news = False
        self._commits: list[asyncio.Future[None]] = []
        self._taken_commits: list[asyncio.Future[None]] = []
        self._observers: set[asyncio.Queue[Event]] = set()

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        self._store.check()
        encoded = [(event, *_measured(event)) for event in events]
        size = sum(each[2] for each in encoded)
        if (
            self._queued_events + len(encoded) > MAX_PENDING_EVENTS
            or self._queued_bytes + size > MAX_PENDING_BYTES
        ) and self._queue:
            raise ChannelFull(
                f"{self._queued_events:,} events ({self._queued_bytes >> 20} MiB) are waiting "
                f"to be stored in {self._store.path}; the disk does not keep up"
            )
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Append(encoded, to, durable))
        self._queued_events += len(encoded)
        self._queued_bytes += size
        self._store.stir(urgent=True)
        await durable

    def take_changes(self) -> Changes | None:
        if not (self._queue or self._changed or self._commits or self._news):
            return None
        self._taken, self._queue = list(self._queue), deque()
        self._queued_events = self._queued_bytes = 0
        self._taken_commits, self._commits = self._commits, []
        self._news = False
        log = self._number(self._taken)
        places: list[Row] = []
        deferred: list[Row] = []
        undeferred: list[Row] = []
        buried: list[Row] = []
        self._taken_places, self._changed = list(self._changed.values()), {}
        for place in self._taken_places:
            row, put, taken, graves = place.take_changes()
            places.append(row)
            deferred += put
            undeferred += taken
            buried += graves
        tail, total, accepted = self._tail, self._total, self._accepted
        if self._taken_records:
            tail = self._taken_records[-1].position
            total += sum(record.size for record in self._taken_records)
            accepted += len(self._taken_records)
        return Changes(
            broker=(tail, total, self._swept, accepted, self._id),
            log=log,
            places=places,
            deferred=deferred,
            undeferred=undeferred,
            buried=buried,
        )

    def _number(self, appends: Iterable[_Append]) -> list[Row]:
        """Give each event its position and return the rows of the log."""
        time, position, total = now(), self._tail, self._total
        rows: list[Row] = []
        self._taken_records = []
        for append in appends:
            for event, head, size in append.events:
                position += 1
                total += size
                self._taken_records.append(Record(position, time, event, append.to, size))
                rows.append((position, time, total, event.hops, append.to, head, event.data))
        return rows

    def committed(self) -> None:
        records, self._taken_records = self._taken_records, []
        if records:
            self._tail = records[-1].position
            self._total += sum(record.size for record in records)
            self._accepted += len(records)
            self._news = True  # what has been swept is worth storing, though nobody waits for it
            self._store.stir(urgent=False)
        for append in self._taken:
            _resolve(append.durable)
        for place in self._taken_places:
            place.committed()
        for commit in self._taken_commits:
            _resolve(commit)
        self._taken, self._taken_places, self._taken_commits = [], [], []
        self._sweep(records)

    def failed(self, error: ChannelUnavailable) -> None:
        for append in self._taken:
            _resolve(append.durable, error)
        for commit in self._taken_commits:
            _resolve(commit, error)
        for place in self._taken_places:
            place.failed()
        self._taken, self._taken_places, self._taken_commits = [], [], []
        self._taken_records = []
        self._news = True

    def _sweep(self, records: Iterable[Record]) -> None:
        for record in records:
            self._swept = record.position
            if record.addressee is None:
                for trigger in self._index.matching(record.event.attributes):
                    self._places[trigger].offer(record)
            elif record.addressee in self._cursors:
                self._places[record.addressee].offer(record)
            for observer in self._observers:
                if not observer.full():
                    observer.put_nowait(record.event)

    # --- triggers --------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int
    ) -> AsyncIterator[EmbeddedCursor]:
        known = self._places.get(trigger)
        place = known or self._new_place(trigger, filter)
        former = self._cursors.get(trigger)
        cursor = self._cursors[trigger] = EmbeddedCursor(place, window)
        if former is not None:
            former.retire()
        self._index.put(trigger, filter)
        place.enter(filter, cursor.wake)
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

    def _new_place(self, trigger: str, filter: Filter) -> Place:
        place = self._place(self._new_stored(trigger, repr(filter), self._swept))
        self._places[trigger] = place
        return place

    def _place(self, stored: Stored) -> Place:
        return Place(
            stored,
            broker=self._id,
            log_table=self._log,
            store=self._store,
            swept=lambda: self._swept,
            changed=self._place_changed,
        )

    def _place_changed(self, place: Place) -> None:
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

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[Event]]:
        observer: asyncio.Queue[Event] = asyncio.Queue(_TAIL_BUFFER)
        self._observers.add(observer)
        try:
            yield _drain(observer)
        finally:
            self._observers.discard(observer)

    async def accepted(self) -> int:
        return self._accepted

    async def books(self) -> Mapping[str, Books]:
        subscribed = {key: place for key, place in self._places.items() if place.subscribed}
        at_rest = await self._store.read(self._oldest_at_rest)
        return {
            key: self._account(place, at_rest.get(place.id)) for key, place in subscribed.items()
        }

    def _account(self, place: Place, oldest_deferred: int | None) -> Books:
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


def _measured(event: Event) -> tuple[str, int]:
    head = encode_head(event)
    return head, len(head) + len(event.data or b"") + OVERHEAD


def _resolve(future: asyncio.Future[None], error: ChannelUnavailable | None = None) -> None:
    if future.done():  # whoever waited has been cancelled
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


async def _drain(queue: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        yield await queue.get()
