"""Whatever an ordered trigger does: no key's events overtake each other, and nothing is lost.

What is tried is a place over a log that is a list; time passes as the test wants it to. A crash
goes back to what was stored last. All bounds are tiny, so that a handful of events takes every
path: parked, noted, read on, crowded.
"""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.channels import backlog, clock, lines
from broker.channels.backlog import Tally
from broker.channels.place import Held, Place, Stored
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import EVERYTHING, Exact, Filter
from broker.ports import Outcome, Refusal

ORDERS = Exact((("type", "order"),))
WHY = Refusal(destination="http://x/", reason="no", status=None, body=b"", attempts=1)
LONG = "k" * 100
WINDOW = 5
KEYS = 3
EVENTS = 4


@pytest.fixture(autouse=True, scope="module")
def tiny_bounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "BUFFER_EVENTS", EVENTS)
        patch.setattr(lines, "MAX_KEYS", KEYS)
        patch.setattr(lines, "LINE_EVENTS", 2)
        patch.setattr(lines, "LINES_EVENTS", EVENTS)
        yield


# --- what happens --------------------------------------------------------------------------


@dataclass(frozen=True)
class Append:
    """Append an order for each key, and one event of another kind."""

    keys: tuple[str | None, ...]
    other: str | None


@dataclass(frozen=True)
class Sweep:
    count: int


@dataclass(frozen=True)
class Take:
    count: int


@dataclass(frozen=True)
class End:
    """Do something with the claim that is out at this place, if any is."""

    how: str
    which: int


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Flush:
    """Store what has changed."""


@dataclass(frozen=True)
class Crash:
    """Begin anew with what is stored."""


@dataclass(frozen=True)
class Away:
    """Leave, let some of the log pass, and come back."""

    count: int


@dataclass(frozen=True)
class Change:
    """Subscribe in place of the former subscription, with what was claimed by it still out."""

    ordered: bool
    filter: Filter


Act = Append | Sweep | Take | End | Wait | Flush | Crash | Away | Change

few = st.integers(0, 7)
key = st.sampled_from([None, "a", "a", "b", "c", "d", LONG])
APPENDING = st.builds(Append, keys=st.lists(key, max_size=7).map(tuple), other=key)
TAKING = st.builds(Take, count=few)
ENDING = st.builds(
    End,
    how=st.sampled_from(["settle", "settle", "defer", "condemn", "at once", "release", "bury"]),
    which=few,
)
CALM = (
    APPENDING,
    st.builds(Sweep, count=few),
    TAKING,
    TAKING,
    ENDING,
    ENDING,
    st.builds(Wait, seconds=st.sampled_from([0.0, 1.0, 100.0])),
    st.builds(Away, count=few),
)
STORMY = (*CALM, st.builds(Flush), st.builds(Flush), st.builds(Crash))
CHANGING = (*STORMY, st.builds(Change, ordered=st.booleans(), filter=st.just(ORDERS)))
FILTERING = (
    *STORMY,
    st.builds(Change, ordered=st.booleans(), filter=st.sampled_from([ORDERS, EVERYTHING])),
)


BEGUN = (Append(("a", "a", "a", "b"), None), Sweep(2), Take(1))


def many(acts: Sequence[st.SearchStrategy[Act]]) -> st.SearchStrategy[list[Act]]:
    return st.lists(st.one_of(acts), min_size=10, max_size=60)


# --- where it happens ----------------------------------------------------------------------


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what would be waited for a time comes at once, and the time has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing will ever happen again")
        self.passed += max(timeout, 0.0)
        return super().select(0)


class Time(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.passed


@dataclass(frozen=True)
class Entry:
    position: int
    event: Event
    size: int = 100


@dataclass
class Log:
    """Gives two entries at a time, and fails at times."""

    entries: list[Entry] = field(default_factory=list)
    reads: int = 0

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        await self._some_time()
        found = [each for each in self.entries[start:end] if filter.matches(each.event.attributes)]
        return (found[:2], found[1].position) if len(found) > 2 else (found, end)

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        await self._some_time()
        return [self.entries[position - 1] for position in positions]

    async def _some_time(self) -> None:
        await asyncio.sleep(0)
        self.reads += 1
        if self.reads % 7 == 0:
            raise ChannelUnavailable("not now")


@dataclass
class Image:
    """What outlives a crash."""

    place: Stored
    swept: int = 0
    put_off: dict[int, tuple[float, int]] = field(default_factory=dict)


class Process:
    """A place, and beside it what is put off without a place in line: position → due, attempts."""

    def __init__(self, log: Log, image: Image) -> None:
        self.log = log
        self.swept = image.swept
        self.put_off = dict(image.put_off)
        self._work: set[asyncio.Task[None]] = set()
        self.place: Place[Entry] = Place(
            copy.deepcopy(image.place),
            log,
            swept=lambda: self.swept,
            changed=lambda: None,
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def rest(self) -> None:
        while self._work:
            done, _ = await asyncio.wait(self._work)
            for task in done:
                task.result()

    async def die(self) -> None:
        for task in list(self._work):
            task.cancel()
            await asyncio.wait([task])
        self.place._claims.turn_off()

    def sweep(self, count: int) -> None:
        for entry in self.log.entries[self.swept : self.swept + count]:
            self.swept = entry.position
            if self.place.filter is not None and self.place.filter.matches(entry.event.attributes):
                self.place.offer(entry)

    def give_back_due(self) -> None:
        now = asyncio.get_running_loop().time()
        for position, (due, attempts) in list(self.put_off.items()):
            if due <= now:
                del self.put_off[position]
                self.place.give_back(Held(self.log.entries[position - 1], attempts))

    def image(self) -> Image:
        place = self.place
        read, tally = place.backlog.as_stored()
        stored = Stored(
            trigger=place.trigger,
            filter=place.filter_text,
            read=self.swept if read is None else read,
            open=place.open_items(),
            tally=tally,
            delivered=place.delivered,
            dead=place.dead,
            left_at=self.swept,
            gone=False,
            due=place.due_items(),
            lines=place.line_items(),
        )
        return Image(stored, self.swept, dict(self.put_off))

    @property
    def unaccounted(self) -> int:
        place = self.place
        return place.matched - place.delivered - place.dead - place.waiting - len(self.put_off)


# --- and what must hold --------------------------------------------------------------------


@dataclass
class Story:
    ordered: bool = True
    filter: Filter = ORDERS
    log: Log = field(default_factory=Log)
    accepted: dict[int, str | None] = field(default_factory=dict)  # orders, and their keys
    done: Counter[int] = field(default_factory=Counter)
    loose: set[int] = field(default_factory=set)  # claimed or put off while it was not ordered
    due: dict[int, float] = field(default_factory=dict)
    due_stored: dict[int, float] = field(default_factory=dict)
    out: list[Held[Entry]] = field(default_factory=list)

    def start(self) -> None:
        self._image = Image(
            Stored(
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
        )
        self._run()

    def _run(self) -> None:
        self.process = Process(self.log, self._image)
        self._enter()

    def _enter(self) -> None:
        self.process.place.enter(self.filter, lambda: None, ordered=self.ordered)

    async def play(self, act: Act) -> None:
        match act:
            case Append(keys, other):
                self._append(keys, other)
            case Sweep(count):
                self.process.sweep(count)
                return  # and go on while the log is still being read
            case Take(count):
                self._take(count)
            case End(how, which):
                self._end_one(which, how)
            case Wait(seconds):
                await asyncio.sleep(seconds)
                self.process.give_back_due()
            case Flush():
                self._image, self.due_stored = self.process.image(), dict(self.due)
            case Crash():
                await self._crash()
                return  # likewise
            case Away(count):
                self._leave_and_return(count)
            case Change(ordered, filter):
                self.ordered, self.filter = ordered, filter
                self._enter()
        await self.process.rest()
        self._check()

    async def _crash(self) -> None:
        await self.process.die()
        self.out.clear()
        self.due = dict(self.due_stored)
        self._run()

    def _leave_and_return(self, count: int) -> None:
        for held in self.out:
            self.process.place.release(held.entry.position)
        self.out.clear()
        self.process.place.leave()
        assert self.process.unaccounted == 0
        self.process.sweep(count)
        self._enter()

    def _check(self) -> None:
        assert self.process.unaccounted == 0
        in_lines = self.process.place._lines
        kept = [line.parked for line in in_lines._lines.values() if line.parked]
        assert sum(map(len, kept)) <= EVENTS + len(kept)
        assert not self.ordered or self.loose or len(in_lines._lines) <= KEYS

    def _append(self, keys: Sequence[str | None], other: str | None) -> None:
        kinds = [(key, "order") for key in keys] + [(other, "other")]
        for key, kind in kinds:
            position = len(self.log.entries) + 1
            attributes = {"id": str(position), "type": kind}
            if key is not None:
                attributes["partitionkey"] = key
            self.log.entries.append(Entry(position, Event(attributes)))
            if kind == "order":
                self.accepted[position] = key

    def _take(self, count: int) -> None:
        for _ in range(count):
            if not self._take_one():
                return

    def _take_one(self) -> bool:
        held = self.process.place.claim() if len(self.out) < WINDOW else None
        if held is None:
            return False
        position = held.entry.position
        assert self.due.pop(position, 0.0) <= asyncio.get_running_loop().time()
        if self.ordered:
            self._check_turn(position)
        else:
            self.loose.add(position)
        self.out.append(held)
        return True

    def _check_turn(self, position: int) -> None:
        key = self.accepted.get(position)
        if key is None or position in self.loose:
            return
        out = {held.entry.position for held in self.out}
        for earlier, its_key in self.accepted.items():
            if its_key == key and earlier != position:
                assert earlier not in out - self.loose
                assert earlier > position or earlier in self.done or earlier in self.loose

    def _end_one(self, which: int, how: str) -> None:
        if self.out:
            self._end(self.out.pop(which % len(self.out)), how)

    def _end(self, held: Held[Entry], how: str) -> None:
        place, position = self.process.place, held.entry.position
        match how:
            case "settle":
                place.settle(position, Outcome.DELIVERED)
                self.done[position] += 1
            case "bury":
                place.settle(position, Outcome.DEAD_LETTERED)
                self.done[position] += 1
            case "release":
                place.release(position)
            case "condemn":
                self._defer(held, 0.5, WHY)
            case "defer":
                self._defer(held, 50.0, held.condemned)
            case "at once":
                self._defer(held, 0.0, held.condemned)

    def _defer(self, held: Held[Entry], seconds: float, condemned: Refusal | None) -> None:
        place, position = self.process.place, held.entry.position
        self.due[position] = asyncio.get_running_loop().time() + seconds
        if place.is_in_line(position):
            place.keep(position, timedelta(seconds=seconds), held.attempts + 1, condemned)
        else:
            place.close(position)
            self.loose.add(position)
            self.process.put_off[position] = (self.due[position], held.attempts + 1)

    async def finish(self) -> None:
        """Settle all that comes, until nothing waits any more."""
        for _ in range(1_000):
            await self.play(Sweep(1_000))
            await self.play(Wait(10.0))
            self._take(1_000)
            for held in self.out:
                self._end(held, "settle")
            self.out.clear()
            place = self.process.place
            if not (place.waiting or place.hungry() or self.process.put_off):
                return
        raise AssertionError("something waits for ever")


def nothing_is_gone(_: Place[Entry], count: int) -> None:
    assert count == 0


def played(acts: Sequence[Act]) -> Story:
    """Return how it ended."""
    story = Story()

    async def play() -> None:
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock, "now", lambda: int(loop.time() * 1e6))
            patch.setattr(Place, "_tell_gone", nothing_is_gone)
            story.start()
            for act in acts:
                await story.play(act)
            await story.finish()

    with asyncio.Runner(loop_factory=Time) as runner:
        runner.run(play())
    return story


@given(acts=many(CALM))
def test_each_event_of_a_key_comes_once_and_after_the_one_before(acts: list[Act]) -> None:
    story = played(acts)

    assert story.done == Counter(story.accepted.keys())
    assert story.process.place.matched == len(story.accepted)


@example([*BEGUN, End("defer", 0), Flush(), Crash(), Wait(0.0), Take(2)])
@example([*BEGUN, Flush(), Crash(), Sweep(7), Take(7)])
@example([Append(("a", "a"), None), Sweep(1), Take(1), Flush(), Crash(), Sweep(1), Take(1)])
@example([*BEGUN, End("settle", 0), Take(1), End("release", 0), Flush(), Crash(), Take(7)])
@given(acts=many(STORMY))
def test_a_crash_loses_nothing_and_lets_nothing_overtake(acts: list[Act]) -> None:
    story = played(acts)

    assert story.done.keys() == story.accepted.keys()
    assert story.process.place.matched == len(story.accepted)


@given(acts=many(CHANGING))
def test_a_trigger_that_is_ordered_at_times_loses_nothing(acts: list[Act]) -> None:
    story = played(acts)

    assert story.done.keys() == story.accepted.keys()
    assert story.process.place.matched == len(story.accepted)


@given(acts=many(FILTERING))
def test_the_books_balance_when_the_filter_of_an_ordered_trigger_changes(acts: list[Act]) -> None:
    story = played(acts)

    assert story.accepted.keys() <= story.done.keys()
    assert story.process.place.backlog.tally.unread == 0
