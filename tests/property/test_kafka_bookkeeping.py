"""Whatever happens to a process: nothing that Kafka holds is lost to a trigger, and books balance.

The partitions are lists here, and the topic of states a mapping; what is tried is what stands
between them and the cursor. A crash may come between any two writes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.channels import backlog, lines
from broker.channels.kafka.account import Places, account, count_again
from broker.channels.kafka.cursor import KafkaCursor, PutOff
from broker.channels.kafka.entries import Entry
from broker.channels.kafka.partition import Partition, StoredPartition, stored_swept
from broker.channels.kafka.subscriptions import Subscriptions
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import EVERYTHING, Exact, Filter
from broker.ports import Books, Claim, Outcome, Refusal

TRIGGER = "default/audit"
ORDERS = Exact((("type", "order"),))
WHY = Refusal(destination="http://x/", reason="no", status=None, body=b"", attempts=1)
MAIN, DELAYS = "main", "delays"


@pytest.fixture(autouse=True, scope="module")
def tiny_buffers() -> Any:  # noqa: ANN401 - a generator, of which pytest makes a fixture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "BUFFER_EVENTS", 4)
        yield


@dataclass(frozen=True)
class Append:
    orders: int
    others: int


@dataclass(frozen=True)
class Sweep:
    """Read on in a partition, by so many records."""

    partition: str
    count: int


@dataclass(frozen=True)
class Take:
    count: int


@dataclass(frozen=True)
class End:
    how: str
    which: int


@dataclass(frozen=True)
class Flush:
    """Store what has changed: the first so many values, or, if there are fewer, all of it."""

    values: int = 1_000


@dataclass(frozen=True)
class Away:
    """Leave, let events pass, and come back."""

    orders: int


@dataclass(frozen=True)
class Crash:
    """Begin anew with what is stored."""


Act = Append | Sweep | Take | End | Flush | Away | Crash

few = st.integers(0, 7)
CALM = (
    st.builds(Append, orders=few, others=few),
    st.builds(Sweep, partition=st.sampled_from([MAIN, DELAYS]), count=few),
    st.builds(Take, count=few),
    st.builds(
        End,
        how=st.sampled_from(["settle", "defer", "release", "bury"]),
        which=st.integers(0, 20),
    ),
    st.builds(Flush),
    st.builds(Away, orders=few),
)
STORMY = (*CALM, st.builds(Flush, values=few), st.builds(Crash))


@dataclass
class Cluster:
    """What outlives a process."""

    logs: dict[str, list[Entry]] = field(default_factory=lambda: {MAIN: [], DELAYS: []})
    states: dict[str, dict[str, bytes]] = field(default_factory=lambda: {MAIN: {}, DELAYS: {}})
    buried: list[str] = field(default_factory=list)

    def append(self, partition: str, event: Event, put_off: PutOff | None = None) -> None:
        log = self.logs[partition]
        log.append(
            Entry(
                position=len(log),
                at=0,
                event=event,
                to=None if put_off is None else put_off.trigger,
                attempts=0 if put_off is None else put_off.attempts,
                condemned=None if put_off is None else put_off.condemned,
                size=100,
            )
        )


@dataclass
class LogOfTrigger:
    entries: Sequence[Entry]
    trigger: str

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[Entry], int]:
        await asyncio.sleep(0)
        found = [each for each in self.entries[start + 1 : end + 1] if self._is_mine(each, filter)]
        return (found[:2], found[1].position) if len(found) > 2 else (found, end)

    async def fetch(self, positions: Sequence[int]) -> Sequence[Entry]:
        await asyncio.sleep(0)
        return [self.entries[position] for position in positions]

    def _is_mine(self, entry: Entry, filter: Filter) -> bool:
        if entry.to is not None:
            return entry.to == self.trigger
        return filter.matches(entry.event.attributes)


class Process:
    """One process, which holds both partitions."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.refusals = 1
        self._work: set[asyncio.Task[None]] = set()
        self.subscriptions: Subscriptions[KafkaCursor] = Subscriptions()
        self.partitions = {name: self._partition(name) for name in (MAIN, DELAYS)}

    def _partition(self, name: str) -> Partition:
        states = dict(self.cluster.states[name])
        swept = states.pop("", None)
        return Partition(
            0,
            name,
            StoredPartition(swept=-1 if swept is None else stored_swept(swept), places=states),
            subscriptions=self.subscriptions,
            log=lambda trigger: LogOfTrigger(self.cluster.logs[name], trigger),
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def rest(self) -> None:
        """Let all that is under way come to its end."""
        while self._work:
            await asyncio.wait(self._work)

    async def die(self) -> None:
        for task in list(self._work):
            task.cancel()
            await asyncio.wait([task])

    def subscribe(self, filter: Filter, *, ordered: bool) -> KafkaCursor:
        cursor = KafkaCursor(TRIGGER, filter, 5, self, ordered=ordered)
        self.subscriptions.put(TRIGGER, cursor)
        for partition in self.partitions.values():
            partition.enter(TRIGGER, cursor)
        return cursor

    def leave(self, cursor: KafkaCursor) -> None:
        cursor.retire()
        cursor.return_claims()
        self.subscriptions.discard(TRIGGER)
        for partition in self.partitions.values():
            partition.leave(TRIGGER)

    async def put_off(self, delivery: PutOff) -> None:
        await self._refuse_at_times()
        self.cluster.append(DELAYS, delivery.event, delivery)

    async def bury_claimed(self, trigger: str, event: Event, why: Refusal, delivery: str) -> None:
        await self._refuse_at_times()
        self.cluster.buried.append(event.id)

    async def _refuse_at_times(self) -> None:
        await asyncio.sleep(0)
        self.refusals += 1
        if self.refusals % 3 == 0:
            raise ChannelUnavailable("not now")

    def sweep(self, name: str, count: int) -> None:
        partition = self.partitions[name]
        start = partition.swept + 1
        for entry in self.cluster.logs[name][start : start + count]:
            partition.sweep(entry)

        if name == DELAYS:
            count_again(self._places())

    def flush(self, values: int) -> None:
        for name, partition in self.partitions.items():
            changes = list(partition.take_changes().items())
            self.cluster.states[name].update(changes[:values])
            if values < len(changes):
                partition.failed()
            else:
                partition.stored()

    def books(self) -> Books:
        return account([self._places()])

    def _places(self) -> Places:
        main, delays = (self.partitions[name].places()[TRIGGER] for name in (MAIN, DELAYS))
        return main, [delays]


@dataclass
class Story:
    filter: Filter = ORDERS
    ordered: bool = False
    cluster: Cluster = field(default_factory=Cluster)
    accepted: list[str] = field(default_factory=list)
    settled: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    out: list[Claim] = field(default_factory=list)
    _sent: int = 0

    def start(self) -> None:
        self.process = Process(self.cluster)
        self._subscribe()

    def _subscribe(self) -> None:
        self.cursor = self.process.subscribe(self.filter, ordered=self.ordered)
        self.claims = self.cursor.claims()

    async def play(self, act: Act) -> None:
        match act:
            case Append(orders, others):
                self._append(orders, others)
            case Sweep(partition, count):
                self.process.sweep(partition, count)
            case Take(count):
                for _ in range(count):
                    await self._take()
            case End(how, which):
                if self.out:
                    await self._end(self.out.pop(which % len(self.out)), how)
            case Flush(values):
                self.process.flush(values)
            case Away(orders):
                self._leave()
                self._append(orders, 1)
                self.process.sweep(MAIN, orders)
                self._subscribe()
            case Crash():
                await self.process.die()
                self.out.clear()
                self.start()
        await asyncio.sleep(0)  # what is put off for no time is due
        await self.process.rest()
        assert self.process.books().unaccounted == 0

    def change(self, filter: Filter) -> None:
        self._leave()
        self.filter = filter
        self._subscribe()

    def _leave(self) -> None:
        self.process.leave(self.cursor)
        self.out.clear()

    def _append(self, orders: int, others: int) -> None:
        for kind in ["order"] * orders + ["other"] * others:
            self._sent += 1
            attributes = {"specversion": "1.0", "id": str(self._sent), "source": "/", "type": kind}
            if key := _key(self._sent):
                attributes["partitionkey"] = key
            self.cluster.append(MAIN, Event(attributes))
            if kind == "order":
                self.accepted.append(str(self._sent))

    async def _take(self) -> bool:
        found = self.cursor._next() if len(self.out) < 5 else None
        if found is None:
            return False
        self.cursor.ready(found[0])
        found[0].release(found[1].entry.position)  # the generator is to hand it out
        claim = await anext(self.claims)
        assert claim.attempts <= self.attempts[claim.event.id]
        if self.ordered:
            self._check_turn(claim)
        self.out.append(claim)
        return True

    def _check_turn(self, claim: Claim) -> None:
        key, number = claim.event.attributes.get("partitionkey"), int(claim.event.id)
        for earlier in range(1, number):
            if key is not None and _key(earlier) == key and str(earlier) in self.accepted:
                assert str(earlier) in self.settled or str(earlier) in self.cluster.buried

    async def _end(self, claim: Claim, how: str) -> None:
        match how:
            case "settle":
                self.cursor.settle(claim, Outcome.DELIVERED)
                self.settled[claim.event.id] += 1
            case "defer":
                attempts = claim.attempts + 1
                self.attempts[claim.event.id] += 1
                soon = timedelta(0)
                self.cursor.defer(claim, soon, attempts=attempts, condemned=claim.condemned)
            case "release":
                self.cursor.release(claim)
            case "bury":
                self.cursor.bury(claim, WHY)

    async def finish(self) -> None:
        """Settle all that comes, until nothing comes any more."""
        for _ in range(1_000):
            for partition in (MAIN, DELAYS):
                await self.play(Sweep(partition, 1_000))
            while await self._take():
                await self._end(self.out.pop(), "settle")
                await self.process.rest()
            for claim in self.out:
                await self._end(claim, "settle")
            self.out.clear()
            await self.process.rest()
            if self.process.books().waiting == 0:
                return
        raise AssertionError("something waits for ever")

    async def put_one_more_off(self) -> None:
        for act in (Append(1, 0), Sweep(MAIN, 1), Take(1), End("defer", 0)):
            await self.play(act)


def _key(number: int) -> str | None:
    """Return the partition key of an event: of each four, two share one, and one has none."""
    return ("a", "b", "a", None)[number % 4]


async def _play(story: Story, acts: list[Act]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("broker.channels.kafka.place._RETRY", 0.0)
        story.start()
        for act in acts:
            await story.play(act)
        await story.finish()


@example([Away(1), Take(1), Away(0)])
@given(acts=st.lists(st.one_of(CALM), max_size=40))
def test_without_a_crash_every_event_is_handled_once(acts: list[Act]) -> None:
    story = Story()
    asyncio.run(_play(story, acts))

    assert story.settled + Counter(story.cluster.buried) == Counter(story.accepted)
    assert story.process.books().matched == len(story.accepted)


@example([Away(1), Take(1), End("defer", 0), Crash()])
@example([Append(7, 0), Sweep(MAIN, 7), Flush(), Append(7, 0), Sweep(MAIN, 7), Flush(1), Crash()])
@given(acts=st.lists(st.one_of(STORMY), max_size=40))
def test_a_crash_loses_nothing(acts: list[Act]) -> None:
    story = Story()
    asyncio.run(_play(story, acts))

    assert set(story.settled) | set(story.cluster.buried) == set(story.accepted)


@example([Append(1, 0), Sweep(MAIN, 1), Take(1), End("defer", 0), Crash()])
@given(acts=st.lists(st.one_of(STORMY), max_size=40))
def test_what_a_crash_repeats_hides_nothing_that_waits_later(acts: list[Act]) -> None:
    story = Story()

    async def and_later() -> None:
        await _play(story, acts)
        await story.put_one_more_off()

    asyncio.run(and_later())

    assert story.process.books().waiting == 1


@example([Append(7, 0), Sweep(MAIN, 7), Take(1), End("defer", 0), Flush(), Crash()])
@given(acts=st.lists(st.one_of(STORMY), max_size=40))
def test_nothing_overtakes_in_an_ordered_trigger_whatever_crashes(acts: list[Act]) -> None:
    story = Story(ordered=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LINE_EVENTS", 2)
        asyncio.run(_play(story, acts))

    assert set(story.settled) | set(story.cluster.buried) == set(story.accepted)


@given(
    before=st.lists(st.one_of(STORMY), max_size=20), after=st.lists(st.one_of(STORMY), max_size=20)
)
def test_the_books_balance_when_the_filter_changes(before: list[Act], after: list[Act]) -> None:
    story = Story()

    async def both() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("broker.channels.kafka.place._RETRY", 0.0)
            story.start()
            for act in before:
                await story.play(act)
            story.change(EVERYTHING)
            for act in after:
                await story.play(act)
            await story.finish()

    asyncio.run(both())

    assert set(story.accepted) <= set(story.settled) | set(story.cluster.buried)
