"""What two processes of a mesh say to each other, over a real pair of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from broker.errors import ChannelFull, ChannelUnavailable, InvalidEvent
from broker.workers.link import Handler, Link, Stream

SOON = 30.0

Linked = tuple[Link, Link]


@asynccontextmanager
async def linked(
    handlers: Mapping[str, Handler],
    streams: Mapping[str, Stream] | None = None,
    on_lost: Callable[[], None] = lambda: None,
) -> AsyncIterator[Linked]:
    """Yield both ends; the second one has the handlers."""
    ends = socket.socketpair()
    for each in ends:
        each.settimeout(0)
    asks = Link("the one that does", handlers={}, on_lost=on_lost)
    does = Link("the one that asks", handlers=handlers, streams=streams)
    await asks.open(ends[0])
    await does.open(ends[1])
    async with asyncio.timeout(SOON):
        yield asks, does
    asks.close()
    does.close()


async def test_a_call_returns_what_the_handler_returns() -> None:
    async def put(first: str, *, second: bytes) -> tuple[str, bytes]:
        await asyncio.sleep(0)
        return first, second

    async with linked({"put": put}) as (asks, _):
        found = await asks.call("put", "ä", second=bytes(3_000_000))

    assert found == ("ä", bytes(3_000_000))


async def test_a_handler_may_return_a_future_and_calls_may_overtake_each_other() -> None:
    futures: list[asyncio.Future[int]] = []

    def later() -> asyncio.Future[int]:
        futures.append(asyncio.get_running_loop().create_future())
        if len(futures) == 3:
            for number, future in enumerate(reversed(futures)):
                future.set_result(number)
        return futures[-1]

    async with linked({"later": later}) as (asks, _):
        assert await asyncio.gather(*(asks.call("later") for _ in range(3))) == [2, 1, 0]


@pytest.mark.parametrize(
    "error",
    [
        InvalidEvent("no id", attribute="id", index=3),
        ChannelFull("too much", retry_after=timedelta(seconds=7)),
        ValueError("'x' is no position"),
        LookupError("/webhooks"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_an_error_is_raised_at_the_other_end_as_it_was(
    error: Exception, *, is_late: bool
) -> None:
    def fail() -> asyncio.Future[None]:
        if not is_late:
            raise error
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future

    async with linked({"fail": fail}) as (asks, _):
        with pytest.raises(type(error)) as raised:
            await asks.call("fail")

    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


async def test_an_error_that_cannot_be_handed_over_is_told_in_words() -> None:
    class Odd(Exception):
        pass

    async def fail() -> None:
        raise Odd("of this function alone")

    async with linked({"fail": fail}) as (asks, _):
        with pytest.raises(RuntimeError, match="Odd: of this function alone"):
            await asks.call("fail")


async def test_what_is_told_is_done_and_not_answered() -> None:
    told = asyncio.Event()

    async def note() -> None:
        told.set()

    async with linked({"note": note}) as (asks, _):
        asks.tell("note")
        await told.wait()


async def test_whoever_waits_for_an_end_that_is_lost_is_told_so() -> None:
    lost = asyncio.Event()

    async def never() -> None:
        await asyncio.Event().wait()

    async with linked({"never": never}, on_lost=lost.set) as (asks, does):
        waiting = asks.call("never")
        does.close()
        with pytest.raises(ChannelUnavailable, match="the one that does does not run now"):
            await waiting
        await lost.wait()
        with pytest.raises(ChannelUnavailable, match="does not run now"):
            await asks.call("never")
        asks.tell("never")


async def test_a_link_that_was_never_opened_says_that_nobody_is_there() -> None:
    with pytest.raises(ChannelUnavailable, match="worker 1 does not run now"):
        await Link("worker 1", handlers={}).call("hello")


async def test_a_stream_is_followed_until_it_is_left() -> None:
    left = asyncio.Event()

    @asynccontextmanager
    async def counting(start: int) -> AsyncIterator[AsyncIterator[int]]:
        async def numbers() -> AsyncIterator[int]:
            for number in range(start, start + 3):
                yield number
            await asyncio.Event().wait()

        try:
            yield numbers()
        finally:
            left.set()

    async with linked({}, {"counting": counting}) as (asks, _):
        async with asks.follow("counting", 5) as items:
            found = [await anext(items) for _ in range(3)]
        await left.wait()

    assert found == [5, 6, 7]


async def test_a_stream_ends_where_the_other_end_does() -> None:
    @asynccontextmanager
    async def quiet() -> AsyncIterator[AsyncIterator[int]]:
        async def nothing() -> AsyncIterator[int]:
            await asyncio.Event().wait()
            yield 0

        yield nothing()

    async with linked({}, {"quiet": quiet}) as (asks, does):
        async with asks.follow("quiet") as items:
            does.close()
            assert [item async for item in items] == []
        with pytest.raises(ChannelUnavailable):
            async with asks.follow("quiet"):
                pass


async def test_a_stream_that_cannot_be_followed_says_why_and_one_that_fails_ends() -> None:
    @asynccontextmanager
    async def failing(*, at_once: bool) -> AsyncIterator[AsyncIterator[int]]:
        async def one() -> AsyncIterator[int]:
            yield 1
            raise ChannelUnavailable("the disk is gone")

        if at_once:
            raise ChannelUnavailable("the disk is gone")
        yield one()

    streams: Mapping[str, Stream] = {
        "first": lambda: failing(at_once=True),
        "second": lambda: failing(at_once=False),
    }
    async with linked({}, streams) as (asks, _):
        with pytest.raises(ChannelUnavailable, match="the disk is gone"):
            async with asks.follow("first"):
                pass
        with suppress(ChannelUnavailable):
            async with asks.follow("second") as items:
                assert [item async for item in items] == [1]
