"""What the first who needs it opens, and all others share."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.connections.sharing import SharedOpening

Tasks = list[asyncio.Task[int]]


class Server:
    """Something to be opened, as slowly as a test wants, which knows who is in."""

    def __init__(self) -> None:
        self.asked = 0
        self.inside = 0
        self.began = asyncio.Event()
        self.answer = asyncio.Event()
        self.left = asyncio.Event()
        self.fault: Exception | None = None

    async def open(self) -> int:
        self.asked += 1
        self.inside += 1
        number = self.asked
        self.began.set()
        try:
            await self.answer.wait()
            if self.fault is not None:
                raise self.fault
        except BaseException:
            await asyncio.sleep(0)  # as closing a connection takes its time
            self.inside -= 1
            self.left.set()
            raise
        return number


@asynccontextmanager
async def asking(
    opening: SharedOpening[int], server: Server, many: int = 3
) -> AsyncIterator[Tasks]:
    """Yield so many who wait for the one opening."""
    tasks = [asyncio.create_task(opening.opened()) for _ in range(many)]
    async with asyncio.timeout(30):
        await server.began.wait()
        yield tasks


async def test_the_first_who_asks_opens_and_all_others_share_it() -> None:
    server = Server()
    opening = SharedOpening(server.open)

    async with asking(opening, server) as waiting:
        server.answer.set()
        found = await asyncio.gather(*waiting)

    assert (found, server.asked) == ([1, 1, 1], 1)


async def test_who_asks_after_it_was_opened_opens_anew() -> None:
    server = Server()
    opening = SharedOpening(server.open)
    server.answer.set()

    found = [await opening.opened(), await opening.opened()]

    assert found == [1, 2]


async def test_a_failure_reaches_all_who_wait_and_the_next_opens_anew() -> None:
    server = Server()
    opening = SharedOpening(server.open)
    server.fault = fault = ConnectionRefusedError("not now")

    async with asking(opening, server) as waiting:
        server.answer.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
    server.fault = None
    again = await opening.opened()

    assert told == [fault] * 3
    assert (again, server.asked) == (2, 2)


@pytest.mark.parametrize("who", [0, 2], ids=["the first", "another"])
async def test_who_gives_up_waiting_ends_neither_the_opening_nor_the_others(who: int) -> None:
    server = Server()
    opening = SharedOpening(server.open)

    async with asking(opening, server) as waiting:
        waiting[who].cancel()
        await asyncio.wait([waiting[who]])
        server.answer.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)

    assert [each for each in found if isinstance(each, int)] == [1, 1]
    assert (waiting[who].cancelled(), server.asked) == (True, 1)


def test_a_failure_that_nobody_waits_for_any_more_is_no_error_of_the_loop() -> None:
    told: list[object] = []

    async def given_up() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        server = Server()
        opening = SharedOpening(server.open)
        server.fault = ConnectionRefusedError("not now")
        async with asking(opening, server, many=1) as (waiting,):
            waiting.cancel()
            await asyncio.wait([waiting])
            server.answer.set()
            await server.left.wait()

    asyncio.run(given_up())
    gc.collect()  # by which the loop would be told

    assert told == []


async def test_closing_ends_what_is_being_opened_and_nothing_stays_open() -> None:
    server = Server()
    opening = SharedOpening(server.open)

    async with asking(opening, server) as waiting:
        await opening.close()
        left = server.inside
        await asyncio.wait(waiting)

    assert left == 0
    assert all(each.cancelled() for each in waiting)
