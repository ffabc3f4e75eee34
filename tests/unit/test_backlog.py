"""What a trigger has not claimed yet, and how it is counted when the filter changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.channels.backlog import Backlog, Tally
from broker.event import Event


@dataclass(frozen=True)
class Entry:
    position: int
    event: Event = field(default_factory=lambda: Event({}))
    size: int = 1


LOG = [Entry(position) for position in range(1, 21)]


def buffered(count: int) -> Backlog[Entry]:
    backlog: Backlog[Entry] = Backlog(read=0, tally=Tally())
    backlog.behind = False
    for entry in LOG[:count]:
        backlog.offer(entry)
    return backlog


async def read_all(backlog: Backlog[Entry], wanted: Callable[[int], bool], swept: int) -> int:
    """Read to the end for a filter of positions; return how many events were at hand then."""

    async def read(start: int, end: int) -> tuple[Sequence[Entry], int]:
        return [each for each in LOG[start:end] if wanted(each.position)], end

    await backlog.read_chunk(read, lambda: swept)
    taken = 0
    while backlog.take() is not None:
        taken += 1
    return taken


def is_even(position: int) -> bool:
    return position % 2 == 0


async def test_what_was_buffered_is_counted_by_the_filter_that_it_is_read_again_by() -> None:
    backlog = buffered(10)
    backlog.refilter(swept=10)
    backlog.offer(LOG[11])

    backlog.put_down(swept=12)
    backlog.pick_up(left_at=12, swept=12, counted=True)
    taken = await read_all(backlog, is_even, swept=12)

    assert taken == 6
    assert (backlog.tally.matched, backlog.waiting) == (6, 0)


async def test_what_was_claimed_before_the_filter_changed_stays_counted() -> None:
    backlog = buffered(10)
    for _ in range(3):
        backlog.take()
    backlog.refilter(swept=10)

    read, tally = backlog.as_stored()
    again: Backlog[Entry] = Backlog(read=read or 0, tally=tally)
    taken = await read_all(again, is_even, swept=10)

    assert (read, taken) == (3, 4)
    assert (again.tally.matched, again.waiting) == (7, 0)


async def test_what_is_buffered_goes_to_the_trigger_although_its_filter_has_changed() -> None:
    backlog = buffered(4)

    backlog.refilter(swept=4)

    assert backlog.waiting == 4
    assert [backlog.take() for _ in range(4)] == LOG[:4]
    assert (backlog.tally.matched, backlog.waiting) == (4, 0)
