"""Whatever a trigger does, and whenever the process dies: nothing is lost, the books balance.

The bounds of the embedded channel's buffers are made tiny, so that a handful of events takes
every path: buffered, behind, read in chunks, due in portions.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channels import backlog, lines
from broker.channels.embedded import EmbeddedBackend, place, reading
from broker.channels.embedded.channel import EmbeddedChannel
from broker.channels.embedded.store import Store
from broker.event import Event
from broker.filters import EVERYTHING, Exact, Filter
from broker.ports import BackendOptions, Channel, Claim, Cursor, Outcome, Refusal

TRIGGER = "default/audit"
BROKER = "default/default"
ORDERS = Exact((("type", "order"),))
WHY = Refusal(destination="http://x/", reason="no", status=None, body=b"", attempts=1)
SOON = 30.0


@pytest.fixture(autouse=True, scope="module")
def tiny_buffers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "BUFFER_EVENTS", 4)
        patch.setattr(reading, "BUFFER_EVENTS", 4)
        patch.setattr(reading, "_CHUNK_EVENTS", 3)
        patch.setattr(place, "_DUE_AT_ONCE", 2)
        yield


@dataclass(frozen=True)
class Append:
    orders: int
    others: int


@dataclass(frozen=True)
class Take:
    """Claim what is at hand, up to so many."""

    count: int


@dataclass(frozen=True)
class End:
    """Do something with the claim that is out at this place, if any is."""

    how: str
    which: int


@dataclass(frozen=True)
class Pause:
    """Let what has been settled be committed."""


@dataclass(frozen=True)
class Away:
    """Leave, let events pass, and come back."""

    orders: int


@dataclass(frozen=True)
class Restart:
    crash: bool


Act = Append | Take | End | Pause | Away | Restart

few = st.integers(0, 7)
acts = st.lists(
    st.one_of(
        st.builds(Append, orders=few, others=few),
        st.builds(Take, count=few),
        st.builds(
            End,
            how=st.sampled_from(["settle", "defer", "release", "bury", "condemn"]),
            which=st.integers(0, 20),
        ),
        st.builds(Pause),
        st.builds(Away, orders=few),
        st.builds(Restart, crash=st.booleans()),
    ),
    max_size=40,
)


@dataclass
class Story:
    """One run of the channel through the acts, over as many processes as they ask for."""

    folder: Path
    filter: Filter = ORDERS
    window: int = 5
    ordered: bool = False
    accepted: list[str] = field(default_factory=list)
    settled: Counter[str] = field(default_factory=Counter)
    buried: set[str] = field(default_factory=set)
    out: list[Claim] = field(default_factory=list)
    crashed: bool = False
    _data: Path = field(init=False)
    _sent: int = 0
    _process: AsyncExitStack = field(default_factory=AsyncExitStack)
    _subscription: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self._data = self.folder / "data"

    async def start(self) -> None:
        options = BackendOptions(
            data_dir=str(self._data), retention_age=timedelta(days=1), retention_bytes=1 << 30
        )
        self.backend = EmbeddedBackend.from_url("sqlite:", options)
        await self._process.enter_async_context(self.backend)
        self.channel: Channel = await self.backend.channel(BROKER, {}, {})
        await self.subscribe()

    async def subscribe(self) -> None:
        self.cursor: Cursor = await self._subscription.enter_async_context(
            self.channel.subscribe(
                TRIGGER, filter=self.filter, window=self.window, ordered=self.ordered
            )
        )
        self.claims = self.cursor.claims()
        self.next: asyncio.Task[Claim] | None = None

    async def leave(self) -> None:
        if self.next is not None:
            self.next.cancel()
            await asyncio.wait([self.next])
        await self._subscription.aclose()
        self.out.clear()

    async def stop(self) -> None:
        await self.leave()
        await self._process.aclose()

    async def play(self, act: Act) -> None:
        match act:
            case Append(orders, others):
                await self.append(orders, others)
            case Take(count):
                for _ in range(count):
                    await self.take(0.005)
            case End(how, which):
                if self.out:
                    await self.end(self.out.pop(which % len(self.out)), how)
            case Pause():
                await asyncio.sleep(0.03)
            case Away(orders):
                await self.leave()
                await self.append(orders, 1)
                await self.subscribe()
            case Restart(crash):
                await self.restart(crash=crash)

    async def append(self, orders: int, others: int) -> None:
        kinds = ["order"] * orders + ["other"] * others
        batch = [self.event(kind) for kind in kinds]
        if batch:
            await self.channel.append(batch)
        self.accepted += [event.id for event in batch if event.type == "order"]

    def event(self, kind: str) -> Event:
        self._sent += 1
        attributes = {"specversion": "1.0", "id": str(self._sent), "source": "/", "type": kind}
        if key := _key(self._sent):
            attributes["partitionkey"] = key
        return Event(attributes)

    async def take(self, within: float) -> bool:
        """Claim one event if one comes in time."""
        if self.next is None:
            self.next = asyncio.ensure_future(anext(self.claims))
        done, _ = await asyncio.wait([self.next], timeout=within)
        if not done:
            return False
        self.out.append(self.next.result())
        self.next = None
        assert len(self.out) <= self.window
        if self.ordered:
            self._check_turn(self.out[-1])
        return True

    def _check_turn(self, claim: Claim) -> None:
        key, number = claim.event.attributes.get("partitionkey"), int(claim.event.id)
        for earlier in range(1, number):
            if key is not None and _key(earlier) == key and str(earlier) in self.accepted:
                assert str(earlier) in self.settled or str(earlier) in self.buried

    async def end(self, claim: Claim, how: str) -> None:
        attempts = claim.attempts + 1
        match how:
            case "settle":
                self.cursor.settle(claim, Outcome.DELIVERED)
                self.settled[claim.event.id] += 1
            case "defer":
                soon = timedelta(milliseconds=claim.attempts % 3)
                self.cursor.defer(claim, soon, attempts=attempts, condemned=claim.condemned)
            case "condemn":
                self.cursor.defer(claim, timedelta(0), attempts=0, condemned=WHY)
            case "release":
                self.cursor.release(claim)
            case "bury":
                self.cursor.bury(claim, WHY)
                self.buried.add(claim.event.id)

    async def restart(self, *, crash: bool) -> None:
        if crash:
            self.crashed = True
            image = Path(tempfile.mkdtemp(dir=self.folder)) / "data"
            await _between_commits(self.backend._store, self._data, image)
            await self.stop()
            self._data = image
        else:
            await self.stop()
        await self.start()

    async def finish(self) -> None:
        """Settle all that comes, until nothing waits any more."""
        async with asyncio.timeout(SOON):
            while await self.take(0.03) or self._is_behind() or await self._waiting():
                for claim in self.out:
                    await self.end(claim, "settle")
                self.out.clear()
        await self.restart(crash=False)

    def _is_behind(self) -> bool:
        """Return whether something is still to be read: only then is all of it counted."""
        assert isinstance(self.channel, EmbeddedChannel)
        return self.channel._places[TRIGGER].backlog.behind

    async def _waiting(self) -> int:
        return (await self.channel.books())[TRIGGER].waiting


async def _between_commits(store: Store, data: Path, image: Path) -> None:
    """Copy the files as a process that dies now leaves them: in the only thread that writes."""
    await store._writing.do(partial(shutil.copytree, data, image))


def _key(number: int) -> str | None:
    """Return the partition key of an event: of each four, two share one, and one has none."""
    return ("a", "b", "a", None)[number % 4]


@given(acts=acts)
def test_nothing_is_lost_and_the_books_balance(acts: list[Act]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Story(Path(folder)), acts))


@given(acts=acts)
def test_nothing_overtakes_in_an_ordered_trigger(acts: list[Act]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LINE_EVENTS", 2)
        asyncio.run(_play(Story(Path(folder), ordered=True), acts))


async def _play(story: Story, acts: list[Act]) -> None:
    await story.start()
    for act in acts:
        await story.play(act)
    await story.finish()
    try:
        books = (await story.channel.books())[TRIGGER]
        buried = Counter([letter.event.id for letter in await story.channel.dead_letters.list()])

        assert set(story.settled) | set(buried) == set(story.accepted)
        if not story.crashed:
            assert story.settled + buried == Counter(story.accepted)
        assert books.matched == len(story.accepted)
        assert books.delivered + books.dead_lettered == books.matched
        assert books.dead_lettered == buried.total()
        assert (books.waiting, books.unaccounted) == (0, 0)
    finally:
        await story.stop()


@given(before=acts, after=acts)
def test_the_books_balance_when_the_filter_changes(before: list[Act], after: list[Act]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play_with_another_filter(Story(Path(folder)), before, after))


async def _play_with_another_filter(story: Story, before: list[Act], after: list[Act]) -> None:
    await story.start()
    for act in before:
        await story.play(act)
    await story.leave()
    story.filter = EVERYTHING
    await story.subscribe()
    for act in after:
        await story.play(act)
    await story.finish()
    try:
        books = (await story.channel.books())[TRIGGER]
        buried = {letter.event.id for letter in await story.channel.dead_letters.list()}

        assert set(story.accepted) <= set(story.settled) | buried
        assert isinstance(story.channel, EmbeddedChannel)
        assert (books.waiting, books.unaccounted) == (0, 0)
    finally:
        await story.stop()
