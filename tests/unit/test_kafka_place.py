"""What a place and a partition of Kafka make of what was stored of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from broker.channels.kafka.account import account, count_again
from broker.channels.kafka.entries import Entry
from broker.channels.kafka.partition import Partition, StoredPartition, stored_swept
from broker.channels.kafka.place import KafkaPlace, PlaceRecord, stored_place
from broker.channels.kafka.subscriptions import Subscriptions
from broker.event import Event
from broker.filters import EVERYTHING, Filter
from broker.ports import Outcome, Refusal

TRIGGER = "default/audit"
WHY = Refusal(destination="http://x/", reason="no", status=None, body=b"", attempts=3)


def entry(offset: int, to: str | None = None, attempts: int = 0) -> Entry:
    attributes = {"specversion": "1.0", "id": str(offset), "source": "/", "type": "order"}
    condemned = WHY if attempts else None
    return Entry(offset, 0, Event(attributes), to, attempts, condemned, 100)


class Log:
    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        return [each for each in self._entries if start < each.position <= end], end

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        return [each for each in self._entries if each.position in positions]


class Here:
    """A subscription that remembers nothing but its filter."""

    filter: Filter = EVERYTHING
    ordered: bool = False

    def ready(self, place: KafkaPlace) -> None:
        pass


class Work:
    def __init__(self) -> None:
        self.subscriptions: Subscriptions[Here] = Subscriptions()
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def done(self) -> None:
        while self._tasks:
            await self._tasks.pop()


def enter(partition: Partition, work: Work) -> KafkaPlace:
    cursor = Here()
    work.subscriptions.put(TRIGGER, cursor)
    return partition.enter(TRIGGER, cursor)


def sweep(partition: Partition, entries: Sequence[Entry]) -> None:
    for each in entries:
        partition.sweep(each)


def partition(
    work: Work, entries: Sequence[Entry] = (), *, swept: int = -1, **places: PlaceRecord
) -> Partition:
    stored = {name.replace("_", "/"): msgspec.json.encode(row) for name, row in places.items()}
    return Partition(
        0,
        "0",
        StoredPartition(swept=swept, places=stored),
        subscriptions=work.subscriptions,
        log=lambda _: Log(entries),
        spawn=work.spawn,
    )


def decoded(changes: Mapping[str, bytes]) -> dict[str, PlaceRecord]:
    return {key: msgspec.json.decode(row, type=PlaceRecord) for key, row in changes.items()}


def taken(place: KafkaPlace) -> list[int]:
    found = []
    while (held := place.claim()) is not None:
        found.append(held.entry.position)
    return found


async def test_what_was_left_unread_before_a_crash_is_read_although_the_partition_lags() -> None:
    work, entries = Work(), [entry(offset) for offset in range(21)]
    behind = PlaceRecord(filter=repr(EVERYTHING), counted=20, read=10, matched=10, unread=10)
    lagging = partition(work, entries, swept=10, default_audit=behind)

    place = enter(lagging, work)
    await work.done()
    sweep(lagging, entries[11:])

    assert taken(place) == list(range(11, 21))
    assert place.waiting == 10


async def test_what_a_place_counted_before_a_crash_is_offered_to_it_no_more() -> None:
    work, entries = Work(), [entry(offset) for offset in range(12)]
    caught_up = PlaceRecord(filter=repr(EVERYTHING), counted=9, matched=5, delivered=5)
    lagging = partition(work, entries, swept=4, default_audit=caught_up)

    place = enter(lagging, work)
    await work.done()
    sweep(lagging, entries[5:])

    assert taken(place) == [10, 11]
    assert (place.matched, place.waiting) == (7, 2)


async def test_what_was_swept_while_a_place_met_nothing_is_not_read_again() -> None:
    work, entries = Work(), [entry(offset) for offset in range(12)]
    quiet = PlaceRecord(filter=repr(EVERYTHING), counted=2, matched=1, delivered=1)

    place = enter(partition(work, entries, swept=9, default_audit=quiet), work)
    await work.done()

    assert taken(place) == []


async def test_a_trigger_that_was_away_reads_what_passed_meanwhile() -> None:
    work, entries = Work(), [entry(offset) for offset in range(12)]
    away = PlaceRecord(filter=repr(EVERYTHING), counted=4, matched=5, delivered=5, left_at=4)

    place = enter(partition(work, entries, swept=9, default_audit=away), work)
    await work.done()

    assert taken(place) == [5, 6, 7, 8, 9]


async def test_a_trigger_misses_nothing_that_passes_where_it_is_not_known_yet() -> None:
    work, entries = Work(), [entry(offset) for offset in range(9)]
    known = PlaceRecord(filter=repr(EVERYTHING), counted=4, matched=5, delivered=5)
    there = partition(work, entries, swept=4, default_audit=known)
    there.note_absent()
    sweep(there, entries[5:])
    changes = there.take_changes()

    after = partition(work, entries, swept=stored_swept(changes.pop("")), **decoded(changes))
    place = enter(after, work)
    await work.done()

    assert taken(place) == [5, 6, 7, 8]
    assert (place.matched, place.waiting) == (9, 4)


async def test_an_open_claim_comes_back_with_its_attempts() -> None:
    work, entries = Work(), [entry(offset) for offset in range(3)]
    open_one = PlaceRecord(filter=repr(EVERYTHING), counted=2, open=[(1, 4, WHY)], matched=1)

    place = enter(partition(work, entries, swept=2, default_audit=open_one), work)
    await work.done()

    held = place.claim()
    assert held is not None
    assert (held.entry.position, held.attempts, held.condemned) == (1, 4, WHY)


async def test_what_a_record_tells_of_a_refusal_is_not_stored_again_and_known_all_the_same() -> (
    None
):
    work, entries = Work(), [entry(0, TRIGGER, attempts=2)]
    delays = partition(work, entries)
    place = enter(delays, work)
    sweep(delays, entries)
    place.claim()

    row = msgspec.json.decode(delays.take_changes()[TRIGGER], type=PlaceRecord)
    after = partition(work, entries, swept=0, default_audit=row)
    again = enter(after, work)
    await work.done()

    assert row.open == [(0, 2, None)]
    held = again.claim()
    assert held is not None
    assert (held.attempts, held.condemned) == (2, WHY)


async def test_a_delivery_that_was_put_off_comes_with_its_attempts() -> None:
    work = Work()
    delays = partition(work)
    place = enter(delays, work)

    sweep(delays, [entry(0, TRIGGER, attempts=2), entry(1, "default/other", attempts=1)])

    held = place.claim()
    assert held is not None
    assert (held.attempts, held.condemned) == (2, WHY)
    assert place.claim() is None


async def test_what_comes_for_a_trigger_that_is_not_there_is_found_when_it_comes() -> None:
    work, entries = Work(), [entry(0, "default/other"), entry(1, TRIGGER), entry(2, TRIGGER)]
    delays = partition(work, entries)
    sweep(delays, entries)
    stored = delays.take_changes()

    after = Partition(
        0,
        "0",
        StoredPartition(swept=stored_swept(stored.pop("")), places=stored),
        subscriptions=work.subscriptions,
        log=lambda trigger: Log([each for each in entries if each.to == trigger]),
        spawn=work.spawn,
    )
    place = enter(after, work)
    await work.done()

    assert taken(place) == [1, 2]


async def test_a_crash_while_a_delivery_is_put_off_repeats_it_with_the_new_attempts() -> None:
    work, entries = Work(), [entry(0)]
    events = partition(work, entries)
    place = enter(events, work)
    sweep(events, entries)
    place.claim()
    through = asyncio.Event()

    async def store() -> None:
        await through.wait()

    place.defer(0, 3, WHY, store)
    before = stored_place(TRIGGER, events.take_changes()[TRIGGER], 0)
    through.set()
    await work.done()
    after = stored_place(TRIGGER, events.take_changes()[TRIGGER], 0)

    assert (before.open, before.put_off) == ([(0, 3, WHY)], 0)
    assert (after.open, after.put_off) == ([], 1)


async def test_what_comes_back_before_its_storing_is_answered_is_counted_once() -> None:
    work, entries = Work(), [entry(0)]
    events, delays = partition(work), partition(work)
    place, after = enter(events, work), enter(delays, work)
    sweep(events, entries)
    taken(place)
    answered = asyncio.Event()

    async def store() -> None:
        await answered.wait()

    place.defer(0, 1, None, store)
    sweep(delays, [entry(0, TRIGGER, attempts=1)])
    count_again((place, [after]))
    answered.set()
    await work.done()
    taken(after)
    after.settle(0, Outcome.DELIVERED)

    books = account([(place, [after])])
    assert (books.matched, books.delivered, books.waiting) == (1, 1, 0)


async def test_what_could_not_be_stored_is_stored_the_next_time() -> None:
    work, entries = Work(), [entry(0)]
    events = partition(work, entries)
    place = enter(events, work)
    sweep(events, entries)
    lost = events.take_changes()
    events.failed()

    again = events.take_changes()
    events.stored()
    nothing = events.take_changes()
    taken(place)
    place.settle(0, Outcome.DELIVERED)

    assert lost.keys() == again.keys() == {TRIGGER, ""}
    assert list(again)[-1] == ""
    assert stored_swept(again[""]) == 0
    assert nothing == {}
    assert events.take_changes().keys() == {TRIGGER}
