"""What an ordered trigger keeps in memory, what it leaves in the log, and when it takes no more."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from broker.channels import clock
from broker.channels.backlog import Read, Tally
from broker.channels.claims import MAX_CONDEMNED
from broker.channels.line import StoredLine
from broker.channels.lines import LINE_EVENTS, LINES_BYTES, LINES_EVENTS, MAX_KEYS, Lines
from broker.channels.place import Place, Stored
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


def test_a_trigger_that_leaves_keeps_nothing_in_memory() -> None:
    lines = strict()
    taken = Taken(lines)
    for position in range(50):
        taken.admit(entry(position, "a"))
    stored = lines.as_stored()

    lines.put_down()

    assert taken.kept == 0
    assert lines.as_stored() == stored
    assert lines.waiting == 49


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


async def drained(lines: Lines[Entry], log: Read[Entry], under_way: Iterable[Entry]) -> list[int]:
    """Be done with one event after the other, until none comes; return their positions."""
    waiting = deque(under_way)
    done = []
    while waiting:
        each = waiting.popleft()
        done.append(each.position)
        lines.end(each)
        while lines.wants_reading:
            await lines.read_on(log)
        while (following := lines.next()) is not None:
            waiting.append(following)
    return done


@pytest.mark.parametrize(("keys", "times"), [(1, 10), (20, 1), (500, 1)])
async def test_what_was_left_in_the_log_is_not_read_for_each_key_anew(
    keys: int, times: int
) -> None:
    entries = [entry(position, f"key {position % keys}") for position in range(20_000)]
    log, lines = Log(entries), strict()

    done = await drained(lines, log, [each for each in entries if lines.admit(each)])

    assert not lines
    assert sorted(done) == list(range(20_000))
    for key in range(keys):
        of_key = [position for position in done if position % keys == key]
        assert of_key == sorted(of_key)
    assert log.read < 20_000 * times


def alternating(count: int) -> list[Entry]:
    return [entry(position, "ab"[position % 2]) for position in range(count)]


async def test_a_line_is_not_read_past_by_another_that_begins_further_on() -> None:
    entries = [entry(position, "a" if position < 300 else "b") for position in range(600)]
    log, lines = Log(entries), strict()
    a, b = (each for each in entries if lines.admit(each))

    of_b = await drained(lines, log, [b])
    of_a = await drained(lines, log, [a])

    assert of_b == list(range(300, 600))
    assert of_a == list(range(300))


async def test_a_line_takes_nothing_twice_from_where_another_is_read() -> None:
    entries = alternating(1_000)
    log, lines = Log(entries), strict()
    a, b = (each for each in entries if lines.admit(each))
    for _ in range(50):  # so that it has room again
        lines.end(b)
        following = lines.next()
        assert following is not None
        b = following

    of_a = await drained(lines, log, [a])
    of_b = await drained(lines, log, [b])

    assert of_a == list(range(0, 1_000, 2))
    assert of_b == list(range(101, 1_000, 2))


async def test_what_a_line_never_took_in_is_not_read_into_it() -> None:
    entries = alternating(1_000)
    lines = strict()
    begun = [each for each in entries if each.position % 2 or each.position < 500]
    a, b = (each for each in begun if lines.admit(each))

    of_both = await drained(lines, Log(entries), [a, b])

    assert sorted(of_both) == [each.position for each in begun]


async def test_what_the_log_has_no_more_is_waited_for_no_more() -> None:
    entries = alternating(1_000)
    lines = strict()
    begun = [each for each in entries if lines.admit(each)]
    kept = [each for each in entries if each.position < 700]
    more = gone = 0

    async def read(start: int, end: int) -> tuple[Sequence[Entry], int]:
        return [each for each in kept if start < each.position <= end], end

    while begun:
        lines.end(begun.pop())
        while lines.wants_reading:
            counted = await lines.read_on(read)
            more, gone = more + counted[0], gone + counted[1]
        while (following := lines.next()) is not None:
            begun.append(following)

    assert (more, gone) == (0, 300)
    assert (lines.waiting, bool(lines)) == (0, False)


async def test_what_is_in_line_is_counted_anew_when_the_filter_changes() -> None:
    entries = alternating(1_000)
    lines = strict()
    a, _ = (each for each in entries if lines.admit(each))

    async def read(start: int, end: int) -> tuple[Sequence[Entry], int]:
        return [each for each in entries if start < each.position <= end][::2], end

    uncounted = lines.uncount()
    lines.end(a)
    counted = await lines.read_on(read)

    assert uncounted == 998
    assert counted == (LINE_EVENTS, 0)
    assert lines.waiting == LINE_EVENTS


async def test_what_is_read_while_the_trigger_leaves_is_read_again() -> None:
    entries = alternating(1_000)
    lines = strict()
    a, b = (each for each in entries if lines.admit(each))
    log = Log(entries)

    async def read(start: int, end: int) -> tuple[Sequence[Entry], int]:
        lines.put_down()
        return await log(start, end)

    lines.end(a)
    of_a = []
    while (following := lines.next()) is not None:
        of_a.append(following.position)
        lines.end(following)
    assert lines.wants_reading
    await lines.read_on(read)
    lines.enter([b], strict=True)
    await lines.read_on(log)
    first = lines.next()
    assert first is not None
    of_a += await drained(lines, log, [first])
    of_b = await drained(lines, log, [b])

    assert of_a == list(range(2, 1_000, 2))
    assert of_b == list(range(1, 1_000, 2))


# --- when a trigger takes in nothing new ---------------------------------------------------


class EmptyLog:
    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        return [], end

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        return []


def unspawned(work: Coroutine[Any, Any, None]) -> None:
    work.close()


def place(*lines: StoredLine, swept: int = 0) -> Place[Entry]:
    stored = Stored(
        trigger="default/audit",
        filter="",
        read=swept,
        open=[],
        tally=Tally(),
        delivered=0,
        dead=0,
        left_at=swept,
        gone=False,
        lines=list(lines),
    )
    return Place(stored, EmptyLog(), swept=lambda: swept, changed=lambda: None, spawn=unspawned)


def ordered_place() -> Place[Entry]:
    ordered = place()
    ordered.enter(EVERYTHING, lambda: None, ordered=True)
    return ordered


def test_the_log_is_needed_from_where_the_first_line_begins() -> None:
    assert place(swept=20).oldest_needed() == 21
    assert (
        place(StoredLine("a", 9, 15, 3), StoredLine("b", 4, 18, 2), swept=20).oldest_needed() == 5
    )


def claimed(place: Place[Entry], position: int, key: str | None) -> bool:
    """Offer an event; return whether it can be claimed."""
    place.offer(entry(position, key))
    return place.claim() is not None


async def test_with_a_thousand_keys_busy_nothing_new_is_taken_in_until_one_is_not() -> None:
    ordered = ordered_place()
    busy = [claimed(ordered, position, f"key {position}") for position in range(MAX_KEYS)]

    refused = claimed(ordered, MAX_KEYS, "one more")
    ordered.settle(0, Outcome.DELIVERED)
    held = ordered.claim()

    assert all(busy)
    assert not refused
    assert held is not None
    assert held.entry.position == MAX_KEYS


def condemn(ordered: Place[Entry], positions: Iterable[int]) -> None:
    for position in positions:
        assert claimed(ordered, position, f"key {position}")
        ordered.keep(position, timedelta(hours=1), attempts=0, condemned=WHY)


async def test_each_time_that_nothing_new_is_taken_in_the_operator_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ordered = ordered_place()
    condemn(ordered, range(MAX_CONDEMNED))
    assert ordered.claim() is None
    assert not caplog.records  # as nothing new waits
    for position in range(1_000, 1_010):
        assert not claimed(ordered, position, None)
    [told] = caplog.messages
    assert told == "trigger takes in nothing new"
    assert f"{MAX_CONDEMNED} events are parked" in caplog.records[0].__dict__["why"]
    assert "`cemesh parked list default/audit`" in caplog.records[0].__dict__["why"]

    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: sys.maxsize)
        ordered._claims._ring()
    while (held := ordered.claim()) is not None:
        ordered.settle(held.entry.position, Outcome.DELIVERED)
    condemn(ordered, range(2_000, 2_000 + MAX_CONDEMNED))
    assert not claimed(ordered, 3_000, None)

    assert caplog.messages == ["trigger takes in nothing new"] * 2
    ordered.leave()


async def test_while_many_wait_for_the_dead_letter_sink_nothing_new_is_taken_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ordered = ordered_place()
    for position in range(MAX_CONDEMNED):
        assert claimed(ordered, position, f"key {position}")
        ordered.keep(position, timedelta(hours=1), attempts=1, condemned=WHY)

    assert not claimed(ordered, MAX_CONDEMNED, None)
    assert ordered.waiting == MAX_CONDEMNED + 1

    monkeypatch.setattr(clock, "now", lambda: sys.maxsize)
    ordered._claims._ring()
    assert len(list(iter(ordered.claim, None))) == MAX_CONDEMNED + 1
    ordered.leave()
