"""What every channel does for sources, and those that processes share for several of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest

from broker.errors import ChannelUnavailable
from broker.ports import Channel
from cemesh.testing.contract.channels_for_sources import *  # noqa: F403
from cemesh.testing.contract.channels_for_sources import GIVES_WAY
from tests.contract.harness import Harness, running


@pytest.mark.timeout(120)
@pytest.mark.parametrize("harness", ["kafka", "rabbitmq"], indirect=True)
async def test_of_two_processes_one_works_and_the_other_when_that_has_gone(
    harness: Harness,
) -> None:
    begun = [asyncio.Event(), asyncio.Event()]
    working: set[int] = set()
    at_once: list[int] = []

    async def work(process: int) -> None:
        working.add(process)
        at_once.append(len(working))
        begun[process].set()
        try:
            await asyncio.Event().wait()
        finally:
            working.discard(process)

    async with asyncio.timeout(2 * GIVES_WAY), running(harness) as one, running(harness) as two:
        tasks = [
            asyncio.ensure_future(channel.alone("a", partial(work, process)))
            for process, channel in enumerate((one, two))
        ]
        while not working:
            await asyncio.sleep(0.05)
        first = next(iter(working))
        await (one, two)[1 - first].alone("b", _nothing)  # another name is free

        tasks[first].cancel()
        await begun[1 - first].wait()

        assert at_once == [1, 1]
        tasks[1 - first].cancel()
        await asyncio.wait(tasks)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("harness", ["kafka", "rabbitmq"], indirect=True)
async def test_whoever_is_cut_off_stops_working(harness: Harness) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(harness) as channel, asyncio.timeout(2 * GIVES_WAY):
        task = asyncio.ensure_future(channel.alone("a", work))
        await begun.wait()
        with harness.outage():
            with pytest.raises(ChannelUnavailable):
                await task
            assert ended.is_set()
        begun.clear()
        again = asyncio.ensure_future(_alone_at_last(channel, work))
        await begun.wait()
        again.cancel()
        await asyncio.wait([again])


async def _nothing() -> None:
    pass


async def _alone_at_last(channel: Channel, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        with suppress(ChannelUnavailable):
            await channel.alone("a", work)
        await asyncio.sleep(0.1)
