from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.dispatcher import Dispatcher
from broker.filters import EVERYTHING
from broker.ports import Buried, Claim, Cursor, Deferred, Outcome, Refusal, Settled, Step
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
