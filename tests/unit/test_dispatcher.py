from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.dispatcher import Dispatcher
from broker.errors import ChannelUnavailable
from broker.filters import EVERYTHING
from broker.ports import (
    Buried,
    Claim,
    Cursor,
    Deferred,
    Ended,
    Outcome,
    Refusal,
    Settled,
    Step,
    Underway,
)
from delivery.gate import Gate
from tests.unit.meshes import OPTIONS, make_event, make_trigger, until

TRIGGER = "default/orders"
WHY = Refusal(destination="http://a/", reason="400 Bad Request", status=400, body=b"", attempts=1)


@pytest.fixture
async def channel() -> MemoryChannel:
    return await MemoryBackend(OPTIONS).channel("default/default", {}, {})


class Steps:
    """Attempts that wait until they are let go, and then all come to the same."""

    def __init__(self, step: Step) -> None:
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self._step = step

    async def __call__(self, claim: Claim) -> Step:
        self.begun.append(claim.event.id)
        await self.go.wait()
        return self._step


def dispatcher_of(step: Callable[[Claim], Awaitable[Step]]) -> Dispatcher:
    """Return a dispatcher whose gate nothing shuts."""
    return Dispatcher(step, Gate(make_trigger("orders", "http://nowhere.test/")))


@asynccontextmanager
async def subscribed(channel: MemoryChannel, *, window: int = 10) -> AsyncIterator[Cursor]:
    async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=window) as cursor:
        yield cursor


async def claimed_again(channel: MemoryChannel) -> list[str]:
    """Return what a subscription that follows is given at once."""
    waiting = (await channel_books(channel))[1]
    async with subscribed(channel) as cursor:
        claims = cursor.claims()
        return [(await anext(claims)).event.id for _ in range(waiting)]


async def channel_books(channel: MemoryChannel) -> tuple[int, int, int]:
    """Return what was delivered, is waiting and was dead-lettered."""
    async with subscribed(channel):
        books = (await channel.books())[TRIGGER]
    assert books.unaccounted == 0
    return books.delivered, books.waiting, books.dead_lettered


@pytest.mark.parametrize(
    ("step", "books", "buried"),
    [
        (Settled(outcome=Outcome.DELIVERED), (1, 0, 0), 0),
        (Settled(outcome=Outcome.DEAD_LETTERED, why=WHY), (0, 0, 1), 0),
        (Deferred(delay=timedelta(days=1), attempts=1, condemned=None), (0, 1, 0), 0),
        (Buried(why=WHY), (0, 0, 1), 1),
    ],
    ids=["delivered", "at the dead-letter sink", "deferred", "buried"],
)
async def test_the_cursor_is_told_what_came_of_an_attempt(
    channel: MemoryChannel, step: Step, books: tuple[int, int, int], buried: int
) -> None:
    steps = Steps(step)
    steps.go.set()
    dispatcher = dispatcher_of(steps)
    async with subscribed(channel) as cursor:
        await channel.append([make_event("1")])
        running = asyncio.create_task(dispatcher.run(cursor))
        await until(lambda: steps.begun == ["1"])
        dispatcher.stop()
        await running

    assert await channel_books(channel) == books
    assert len(await channel.dead_letters.list()) == buried


async def test_the_window_bounds_the_attempts_under_way(channel: MemoryChannel) -> None:
    steps = Steps(Settled(outcome=Outcome.DELIVERED))
    dispatcher = dispatcher_of(steps)
    async with subscribed(channel, window=3) as cursor:
        await channel.append([make_event(str(number)) for number in range(10)])
        running = asyncio.create_task(dispatcher.run(cursor))
        await until(lambda: len(steps.begun) == 3)
        assert dispatcher.in_flight == 3

        steps.go.set()
        await until(lambda: len(steps.begun) == 10)
        dispatcher.stop()
        await running

    assert dispatcher.in_flight == 0
    assert await channel_books(channel) == (10, 0, 0)


async def test_stopped_it_claims_no_more_and_finishes_what_is_under_way(
    channel: MemoryChannel,
) -> None:
    steps = Steps(Settled(outcome=Outcome.DELIVERED))
    dispatcher = dispatcher_of(steps)
    async with subscribed(channel, window=1) as cursor:
        await channel.append([make_event("1"), make_event("2")])
        running = asyncio.create_task(dispatcher.run(cursor))
        await until(lambda: steps.begun == ["1"])
        dispatcher.stop()
        steps.go.set()
        await running

    assert steps.begun == ["1"]
    assert await channel_books(channel) == (1, 1, 0)


async def test_stopped_before_it_runs_it_claims_nothing(channel: MemoryChannel) -> None:
    steps = Steps(Settled(outcome=Outcome.DELIVERED))
    dispatcher = dispatcher_of(steps)
    async with subscribed(channel) as cursor:
        await channel.append([make_event("1")])
        dispatcher.stop()
        await dispatcher.run(cursor)

    assert steps.begun == []


async def test_cancelled_it_gives_back_what_was_under_way(channel: MemoryChannel) -> None:
    dispatcher = dispatcher_of(steps := Steps(Settled(outcome=Outcome.DELIVERED)))
    async with subscribed(channel) as cursor:
        await channel.append([make_event("1"), make_event("2")])
        running = asyncio.create_task(dispatcher.run(cursor))
        await until(lambda: len(steps.begun) == 2)
        running.cancel()
        await asyncio.wait([running])

    assert dispatcher.in_flight == 0
    assert await claimed_again(channel) == ["1", "2"]


async def test_a_step_that_raises_ends_the_run_and_costs_no_event(channel: MemoryChannel) -> None:
    async def step(claim: Claim) -> Step:
        if claim.event.id == "2":
            raise ZeroDivisionError
        await asyncio.Event().wait()
        raise AssertionError

    async with subscribed(channel) as cursor:
        await channel.append([make_event("1"), make_event("2")])
        with pytest.raises(ExceptionGroup) as caught:
            await dispatcher_of(step).run(cursor)

    assert caught.group_contains(ZeroDivisionError)
    assert await claimed_again(channel) == ["1", "2"]


async def test_taken_over_it_ends_once_what_it_holds_is_done(channel: MemoryChannel) -> None:
    steps = Steps(Settled(outcome=Outcome.DELIVERED))
    async with subscribed(channel) as cursor:
        await channel.append([make_event("1")])
        running = asyncio.create_task(dispatcher_of(steps).run(cursor))
        await until(lambda: steps.begun == ["1"])
        async with subscribed(channel) as newer:
            await channel.append([make_event("2")])
            assert (await anext(newer.claims())).event.id == "2"
            steps.go.set()
            await running

    assert await channel_books(channel) == (1, 1, 0)


# --- attempts without a task ---------------------------------------------------------------

DELIVERED = Settled(outcome=Outcome.DELIVERED)
LATER = Deferred(delay=timedelta(days=1), attempts=1, condemned=None)


class Begun:
    """An attempt without a task, which ends when the test says so."""

    def __init__(self, claim: Claim, done: Callable[[Ended], None]) -> None:
        self.id = claim.event.id
        self.is_cancelled = False
        self._done = done

    def cancel(self) -> None:
        assert not self.is_cancelled
        self.is_cancelled = True

    def end(self, step: Step = DELIVERED) -> None:
        """End it with that step, to which all but a delivery takes a task."""
        self._done(DELIVERED if step == DELIVERED else partial(_come_to, step))


async def _come_to(step: Step) -> Step:
    await asyncio.sleep(0)
    return step


class CountedGate:
    """A gate that is always open. To leave it twice is a fault."""

    def __init__(self) -> None:
        self.under_way: list[Claim] = []
        self.cleared: list[int] = []  # how many were under way then

    def admit(self, claim: Claim) -> bool:
        self.under_way.append(claim)
        return True

    async def opens(self, claim: Claim) -> None:
        raise AssertionError("it is never shut")

    def leave(self, claim: Claim) -> None:
        self.under_way.remove(claim)

    def clear(self) -> None:
        self.cleared.append(len(self.under_way))
        self.under_way.clear()


class Prompt:
    """A dispatcher whose attempts begin without a task, but those of ``tasked`` events."""

    def __init__(self, *, tasked: Sequence[str] = ()) -> None:
        self.begun: list[Begun] = []
        self.stepped: list[str] = []
        self.told: list[Step] = []
        self.gate = CountedGate()
        self._tasked = frozenset(tasked)
        self.dispatcher = Dispatcher(
            self._step, self.gate, begin=self._begin, told=lambda _, step: self.told.append(step)
        )

    def _begin(self, claim: Claim, done: Callable[[Ended], None]) -> Underway | None:
        if claim.event.id in self._tasked:
            return None
        self.begun.append(begun := Begun(claim, done))
        return begun

    async def _step(self, claim: Claim) -> Step:
        self.stepped.append(claim.event.id)
        return DELIVERED

    async def under_way(self, count: int) -> Sequence[Begun]:
        await until(lambda: len(self.begun) >= count)
        return self.begun


class Noting:
    """A cursor that notes what it is told of each event; ``fault`` is raised instead."""

    def __init__(self, cursor: Cursor) -> None:
        self.noted: list[tuple[str, type[Step]]] = []
        self.fault: Exception | None = None
        self._cursor = cursor

    def claims(self) -> AsyncIterator[Claim]:
        return self._cursor.claims()

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        self._note(claim, Settled)
        self._cursor.settle(claim, outcome)

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        self._note(claim, Deferred)
        self._cursor.defer(claim, delay, attempts=attempts, condemned=condemned)

    def release(self, claim: Claim) -> None:
        raise AssertionError("the gate is never shut")

    def bury(self, claim: Claim, why: Refusal) -> None:
        self._note(claim, Buried)
        self._cursor.bury(claim, why)

    def _note(self, claim: Claim, step: type[Step]) -> None:
        if self.fault is not None:
            raise self.fault
        self.noted.append((claim.event.id, step))


@pytest.mark.parametrize(
    ("step", "books", "told"),
    [
        (DELIVERED, (1, 0, 0), []),
        (LATER, (0, 1, 0), [LATER]),
        (Buried(why=WHY), (0, 0, 1), [Buried(why=WHY)]),
    ],
    ids=["delivered", "deferred", "buried"],
)
async def test_the_cursor_is_told_what_came_of_an_attempt_without_a_task(
    channel: MemoryChannel, step: Step, books: tuple[int, int, int], told: list[Step]
) -> None:
    prompt = Prompt()
    async with subscribed(channel) as cursor:
        await channel.append([make_event("1")])
        running = asyncio.create_task(prompt.dispatcher.run(cursor))
        (begun,) = await prompt.under_way(1)
        begun.end(step)
        prompt.dispatcher.stop()
        await running

    assert await channel_books(channel) == books
    assert prompt.told == told
    assert prompt.stepped == []
    assert prompt.gate.cleared == [0]


async def test_attempts_without_a_task_count_and_the_window_bounds_them(
    channel: MemoryChannel,
) -> None:
    prompt = Prompt(tasked=["4"])
    async with subscribed(channel, window=3) as cursor:
        await channel.append([make_event(str(number)) for number in range(5)])
        running = asyncio.create_task(prompt.dispatcher.run(cursor))
        first, second, third = await prompt.under_way(3)
        assert prompt.dispatcher.in_flight == 3

        first.end()
        assert prompt.dispatcher.in_flight == 2
        await prompt.under_way(4)
        assert prompt.dispatcher.in_flight == 3
        second.end(LATER)
        await until(lambda: prompt.stepped == ["4"])
        third.end()
        prompt.begun[3].end()
        prompt.dispatcher.stop()
        await running

    assert prompt.dispatcher.in_flight == 0
    assert prompt.gate.cleared == [0]
    assert await channel_books(channel) == (4, 1, 0)


@pytest.mark.parametrize("step", [DELIVERED, LATER], ids=["delivered", "deferred"])
async def test_stopped_it_waits_for_attempts_without_a_task(
    channel: MemoryChannel, step: Step
) -> None:
    prompt = Prompt()
    async with subscribed(channel) as cursor:
        noting = Noting(cursor)
        await channel.append([make_event("1"), make_event("2")])
        running = asyncio.create_task(prompt.dispatcher.run(noting))
        first, second = await prompt.under_way(2)

        prompt.dispatcher.stop()
        await channel.append([make_event("3")])
        first.end(step)
        await until(lambda: len(noting.noted) == 1)
        assert not running.done()
        second.end(step)
        await running

        assert noting.noted == [("1", type(step)), ("2", type(step))]
    assert [each.id for each in prompt.begun] == ["1", "2"]
    assert not any(each.is_cancelled for each in prompt.begun)
    assert prompt.gate.cleared == [0]


async def test_taken_over_it_waits_for_attempts_without_a_task(channel: MemoryChannel) -> None:
    prompt = Prompt()
    async with subscribed(channel) as cursor:
        await channel.append([make_event("1")])
        running = asyncio.create_task(prompt.dispatcher.run(cursor))
        (begun,) = await prompt.under_way(1)
        async with subscribed(channel) as newer:
            await channel.append([make_event("2")])
            assert (await anext(newer.claims())).event.id == "2"
            assert not running.done()
            begun.end()
            await running

    assert await channel_books(channel) == (1, 1, 0)


async def test_cancelled_it_breaks_off_attempts_without_a_task(channel: MemoryChannel) -> None:
    prompt = Prompt()
    async with subscribed(channel) as cursor:
        noting = Noting(cursor)
        await channel.append([make_event("1"), make_event("2"), make_event("3")])
        running = asyncio.create_task(prompt.dispatcher.run(noting))
        first, second, third = await prompt.under_way(3)
        first.end()
        second.end(LATER)  # whose task has not begun when it is cancelled

        running.cancel()
        await asyncio.wait([running])

        assert noting.noted == [("1", Settled)]
    assert running.cancelled()
    assert [first.is_cancelled, second.is_cancelled, third.is_cancelled] == [False, False, True]
    assert prompt.dispatcher.in_flight == 0
    assert prompt.gate.under_way == []
    assert await claimed_again(channel) == ["2", "3"]


async def test_cancelled_after_it_was_stopped_it_breaks_off_what_it_waits_for(
    channel: MemoryChannel,
) -> None:
    prompt = Prompt()
    async with subscribed(channel) as cursor:
        noting = Noting(cursor)
        await channel.append([make_event("1"), make_event("2")])
        running = asyncio.create_task(prompt.dispatcher.run(noting))
        first, second = await prompt.under_way(2)
        prompt.dispatcher.stop()
        first.end(Buried(why=WHY))
        await until(lambda: len(noting.noted) == 1)

        running.cancel()
        await asyncio.wait([running])

    assert second.is_cancelled
    assert prompt.dispatcher.in_flight == 0
    assert await claimed_again(channel) == ["2"]


@pytest.mark.parametrize("step", [DELIVERED, LATER], ids=["without a task", "from its task"])
async def test_a_cursor_that_raises_ends_the_run_and_costs_no_event(
    channel: MemoryChannel, step: Step
) -> None:
    prompt = Prompt()
    async with subscribed(channel) as cursor:
        noting = Noting(cursor)
        await channel.append([make_event("1"), make_event("2"), make_event("3")])
        running = asyncio.create_task(prompt.dispatcher.run(noting))
        first, second, third = await prompt.under_way(3)
        noting.fault = ChannelUnavailable("the disk is full")

        first.end(step)
        second.end(step)
        with pytest.raises(ExceptionGroup) as caught:
            await running

    assert caught.group_contains(ChannelUnavailable)
    assert third.is_cancelled
    assert prompt.dispatcher.in_flight == 0
    assert prompt.gate.under_way == []
    assert await claimed_again(channel) == ["1", "2", "3"]


async def test_what_ends_while_a_failed_run_is_ending_costs_no_event(
    channel: MemoryChannel,
) -> None:
    prompt = Prompt()
    is_late: list[bool] = []

    async def fail() -> Step:
        loop = asyncio.get_running_loop()
        # In the turn in which the group has heard of this, and the run has not.
        loop.call_soon(loop.call_soon, end_late)
        raise ZeroDivisionError

    def end_late() -> None:
        is_late.append(not running.done() and not second.is_cancelled)
        second.end(LATER)
        is_late.append(True)

    async with subscribed(channel) as cursor:
        noting = Noting(cursor)
        await channel.append([make_event("1"), make_event("2")])
        running = asyncio.create_task(prompt.dispatcher.run(noting))
        first, second = await prompt.under_way(2)
        first._done(fail)
        with pytest.raises(ExceptionGroup):
            await running

        assert noting.noted == []
    assert is_late == [True, True]
    assert prompt.dispatcher.in_flight == 0
    assert await claimed_again(channel) == ["1", "2"]


# --- whatever happens when -----------------------------------------------------------------

Ending = Literal["stop", "cancel", "stop, then cancel", "fault"]
STEPS: list[Step] = [DELIVERED, LATER, Buried(why=WHY)]
MOVES = st.one_of(
    st.just("append"),
    st.just("turn"),
    st.tuples(st.integers(0, 9), st.sampled_from(STEPS)),
)
"""An event comes, the loop goes round, or an attempt that is under way ends."""


@given(
    moves=st.lists(MOVES, max_size=40),
    ending=st.sampled_from(["stop", "cancel", "stop, then cancel", "fault"]),
    tasked=st.sets(st.integers(0, 20).map(str)),
    turns=st.integers(0, 8),
)
@example(
    moves=["append", "append", "turn", "turn", (0, LATER), (0, DELIVERED)],
    ending="cancel",
    tasked=set(),
    turns=0,
)
def test_every_claim_comes_to_one_end_whatever_happens_when(
    moves: Sequence[str | tuple[int, Step]], ending: Ending, tasked: set[str], turns: int
) -> None:
    asyncio.run(_play(moves, ending, tasked, turns))


async def _play(
    moves: Sequence[str | tuple[int, Step]], ending: Ending, tasked: set[str], turns: int
) -> None:
    channel = await MemoryBackend(OPTIONS).channel("default/default", {}, {})
    prompt = Prompt(tasked=sorted(tasked))
    ended: dict[str, type[Step]] = {}
    appended = 0
    async with subscribed(channel, window=5) as cursor:
        noting = Noting(cursor)
        running = asyncio.create_task(prompt.dispatcher.run(noting))
        for move in moves:
            match move:
                case "append":
                    await channel.append([make_event(str(appended))])
                    appended += 1
                case "turn":
                    await asyncio.sleep(0)
                case (int(which), step):
                    waiting = [each for each in prompt.begun if each.id not in ended]
                    if waiting:
                        begun = waiting[which % len(waiting)]
                        ended[begun.id] = type(step)
                        begun.end(step)
        await _end(prompt, running, noting, ending, turns, ended)

    noted = dict(noting.noted)
    assert len(noted) == len(noting.noted)
    delivered = sum(step is Settled for step in noted.values())
    dead = sum(step is Buried for step in noted.values())
    assert await channel_books(channel) == (delivered, appended - delivered - dead, dead)
    assert noted.items() <= (ended | dict.fromkeys(prompt.stepped, Settled)).items()
    if ending == "stop":
        assert noted == ended | dict.fromkeys(prompt.stepped, Settled)
        assert prompt.gate.cleared == [0]
    if ending != "fault":
        assert {each for each, step in ended.items() if step is Settled} <= noted.keys()
    broken_off = {each.id for each in prompt.begun if each.is_cancelled}
    assert broken_off == {each.id for each in prompt.begun} - ended.keys()
    assert prompt.dispatcher.in_flight == 0
    assert prompt.gate.under_way == []
    if not running.cancelled():
        assert (running.exception() is None) is (noting.fault is None)


async def _end(
    prompt: Prompt,
    running: asyncio.Task[None],
    noting: Noting,
    ending: Ending,
    turns: int,
    ended: dict[str, type[Step]],
) -> None:
    if ending.startswith("stop"):
        prompt.dispatcher.stop()
    for _ in range(turns):
        await asyncio.sleep(0)
    match ending:
        case "stop":
            for begun in prompt.begun:
                if begun.id not in ended:
                    ended[begun.id] = Settled
                    begun.end()
        case "fault":
            noting.fault = ChannelUnavailable("the disk is full")
            waiting = [each for each in prompt.begun if each.id not in ended]
            if waiting:
                ended[waiting[0].id] = Settled
                waiting[0].end()
            else:
                running.cancel()
        case _:
            running.cancel()
    await asyncio.wait([running])
