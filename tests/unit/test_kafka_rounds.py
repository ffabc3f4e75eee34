"""Requests that many share."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from broker.channels.kafka.rounds import Rounds
from broker.errors import ChannelUnavailable


class Server:
    """Answers each question with the number of the request, once it is told to go on."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.outage: ChannelUnavailable | None = None
        self._goes_on = asyncio.Semaphore(0)

    async def serve(self, asked: Collection[str]) -> Mapping[str, int]:
        number = len(self.requests)
        self.requests.append(list(asked))
        await self._goes_on.acquire()
        if self.outage is not None:
            raise self.outage
        return dict.fromkeys(asked, number)

    def go_on(self, requests: int = 1) -> None:
        for _ in range(requests):
            self._goes_on.release()

    async def asked(self, requests: int) -> None:
        """Return once so many requests have begun."""
        async with asyncio.timeout(30):
            while len(self.requests) < requests:
                await asyncio.sleep(0)


async def test_who_asks_while_a_request_is_on_its_way_shares_the_next_one() -> None:
    server = Server()
    rounds = Rounds(server.serve)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(rounds.ask("a"))
        await server.asked(1)
        later = [tasks.create_task(rounds.ask(key)) for key in ("a", "b", "a")]
        await asyncio.sleep(0)
        server.go_on(2)

    assert server.requests == [["a"], ["a", "b"]]
    assert await first == 0
    assert [task.result() for task in later] == [1, 1, 1]


async def test_a_request_that_failed_is_told_to_all_who_share_it_and_to_no_other() -> None:
    server = Server()
    rounds = Rounds(server.serve)
    first = asyncio.create_task(rounds.ask("a"))
    await server.asked(1)
    sharing = [asyncio.create_task(rounds.ask("a")) for _ in range(3)]
    await asyncio.sleep(0)
    server.go_on()
    await server.asked(2)
    server.outage = ChannelUnavailable("no answer")
    server.go_on()

    failures = await asyncio.gather(*sharing, return_exceptions=True)

    assert [str(failure) for failure in failures] == ["no answer"] * 3
    assert len(set(map(id, failures))) == 3
    assert await first == 0
    server.outage = None
    server.go_on()
    assert await rounds.ask("a") == 2


async def test_one_that_is_cancelled_takes_nobody_with_it() -> None:
    server = Server()
    rounds = Rounds(server.serve)
    first = asyncio.create_task(rounds.ask("a"))
    await server.asked(1)
    sharing = [asyncio.create_task(rounds.ask(key)) for key in "bcd"]
    await asyncio.sleep(0)

    first.cancel()
    await server.asked(2)
    sharing[0].cancel()
    sharing[2].cancel()
    await server.asked(3)
    server.go_on()

    assert await sharing[1] == 2
    assert server.requests == [["a"], ["b", "c", "d"], ["b", "c", "d"]]
    with pytest.raises(asyncio.CancelledError):
        await sharing[0]
