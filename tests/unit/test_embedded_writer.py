from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from broker.channels.embedded.writer import Writer


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()


async def test_calls_are_done_one_after_the_other_in_one_thread_of_their_own(
    writer: Writer,
) -> None:
    done: list[int] = []

    def do(number: int) -> tuple[int, str]:
        done.append(number)
        return number, threading.current_thread().name

    found = await asyncio.gather(*(writer.do(partial(do, each)) for each in range(50)))

    assert done == list(range(50))
    assert found == [(each, "cemesh-writer") for each in range(50)]


async def test_what_a_call_raises_is_raised_and_the_next_one_is_done(writer: Writer) -> None:
    with pytest.raises(ZeroDivisionError):
        await writer.do(lambda: 1 // 0)

    assert await writer.do(lambda: 1) == 1


async def test_a_call_that_nobody_waits_for_any_more_is_done_all_the_same(writer: Writer) -> None:
    begun, ends, done = threading.Event(), threading.Event(), threading.Event()

    def do() -> None:
        begun.set()
        ends.wait(30)
        done.set()

    waiting = asyncio.ensure_future(writer.do(do))
    await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ends.set()
    assert await writer.do(done.is_set)


async def test_closing_waits_for_what_was_asked_for() -> None:
    writer, done = Writer(), list[int]()
    waiting = [asyncio.ensure_future(writer.do(partial(done.append, each))) for each in range(9)]
    await asyncio.sleep(0)

    writer.close()

    assert done == list(range(9))
    await asyncio.gather(*waiting)
