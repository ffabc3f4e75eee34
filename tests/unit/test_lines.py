"""What an ordered trigger keeps in memory, what it leaves in the log, and when it takes no more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from broker.channels.backlog import Tally
from broker.channels.lines import LINE_EVENTS, LINES_BYTES, LINES_EVENTS, MAX_KEYS, Lines
from broker.channels.place import MAX_CONDEMNED, Place, Stored
from broker.event import Event
from broker.filters import EVERYTHING, Filter
from broker.ports import Outcome, Refusal

WHY = Refusal(destination="http://x/", reason="no", status=None, body=b"", attempts=1)


@dataclass(frozen=True)
class Entry:
    position: int
    event: Event
    size: int = 1


def entry(position: int, key: str | None, size: int = 1) -> Entry:
    return Entry(position, Event({} if key is None else {"partitionkey": key}), size)


def strict() -> Lines[Entry]:
    lines: Lines[Entry] = Lines()
    lines.enter((), strict=True)
    return lines


class Taken:
    """Entries that were admitted, as long as somebody keeps them."""

    def __init__(self, lines: Lines[Entry]) -> None:
        self._lines = lines
        self._refs: list[weakref.ref[Entry]] = []

    def admit(self, entry: Entry) -> None:
        if not self._lines.admit(entry):
            self._refs.append(weakref.ref(entry))

    @property
    def kept(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in self._refs)


# --- memory --------------------------------------------------------------------------------


def test_a_key_that_is_held_up_keeps_a_bounded_number_in_memory_and_one_note() -> None:
    lines = strict()
    taken = Taken(lines)

    for position in range(10_001):
        taken.admit(entry(position, "a"))

    assert taken.kept == LINE_EVENTS
    assert lines.as_stored() == [("a", 0, 10_000, 10_000)]
    assert (lines.waiting, lines.oldest_needed()) == (10_000, 1)


def test_all_keys_together_keep_a_bounded_number_in_memory() -> None:
    lines = strict()
    taken = Taken(lines)

    for position in range(20_000):
        taken.admit(entry(position, f"key {position % 200}"))

    assert LINES_EVENTS <= taken.kept <= LINES_EVENTS + 200


def test_large_events_are_kept_by_their_size_but_one_of_each_key() -> None:
    lines = strict()
    taken = Taken(lines)

    for position in range(100):
        taken.admit(entry(position, f"key {position % 20}", size=LINES_BYTES // 4))

    assert taken.kept == 20


def test_a_long_key_is_stored_in_short_and_keeps_its_order() -> None:
    lines = strict()

    assert lines.admit(entry(1, "k" * 10_000))
    assert not lines.admit(entry(2, "k" * 10_000))
    assert lines.admit(entry(3, "k" * 9_999))

    (line,) = lines.as_stored()
    assert len(line.key) <= 64


# --- reading on ----------------------------------------------------------------------------


class Log:
    """Counts what is read, in chunks of a thousand."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self.read = 0

    async def __call__(self, start: int, end: int) -> tuple[Sequence[Entry], int]:
        found = self._entries[start + 1 : min(end, start + 1_000) + 1]
        self.read += len(found)
        return found, found[-1].position


@pytest.mark.parametrize(("keys", "times"), [(1, 10), (20, 1), (500, 1)])
async def test_what_was_left_in_the_log_is_not_read_for_each_key_anew(
    keys: int, times: int
) -> None:
    log = Log([entry(position, f"key {position % keys}") for position in range(20_000)])
    lines = strict()
    at_once = [each for each in log._entries if lines.admit(each)]
    done = []

    under_way = list(at_once)
    while under_way:
        each = under_way.pop(0)
        done.append(each.position)
        lines.end(each)
        while lines.wants_reading:
            await lines.read_on(log)
        while (following := lines.next()) is not None:
            under_way.append(following)

    assert not lines
    assert sorted(done) == list(range(20_000))
    for key in range(keys):
        of_key = [position for position in done if position % keys == key]
        assert of_key == sorted(of_key)
    assert log.read < 20_000 * times


# --- when a trigger takes in nothing new ---------------------------------------------------


class EmptyLog:
    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        return [], end

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        return []


def unspawned(work: Coroutine[Any, Any, None]) -> None:
    work.close()


def ordered_place() -> Place[Entry]:
    stored = Stored(
        trigger="default/audit",
        filter="",
        read=0,
        open=[],
        tally=Tally(),
        delivered=0,
        dead=0,
        left_at=0,
        gone=False,
    )
    place: Place[Entry] = Place(
        stored, EmptyLog(), swept=lambda: 0, changed=lambda: None, spawn=unspawned
    )
    place.enter(EVERYTHING, lambda: None, ordered=True)
    return place


def claimed(place: Place[Entry], position: int, key: str | None) -> bool:
    """Offer an event; return whether it can be claimed."""
    place.offer(entry(position, key))
    return place.claim() is not None


async def test_with_a_thousand_keys_busy_nothing_new_is_taken_in_until_one_is_not() -> None:
    place = ordered_place()
    busy = [claimed(place, position, f"key {position}") for position in range(MAX_KEYS)]

    refused = claimed(place, MAX_KEYS, "one more")
    place.settle(0, Outcome.DELIVERED)
    held = place.claim()

    assert all(busy)
    assert not refused
    assert held is not None
    assert held.entry.position == MAX_KEYS


async def test_while_many_wait_for_the_dead_letter_sink_nothing_new_is_taken_in() -> None:
    place = ordered_place()
    for position in range(MAX_CONDEMNED):
        assert claimed(place, position, f"key {position}")
        place.keep(position, timedelta(hours=1), attempts=1, condemned=WHY)

    assert not claimed(place, MAX_CONDEMNED, None)
    assert place.waiting == MAX_CONDEMNED + 1
    place.leave()
