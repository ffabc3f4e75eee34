"""How a worker is told what to run. The process is stood in for by the other end of its link."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.errors import ChannelUnavailable, DataDirectoryInUse
from broker.settings import Settings
from broker.trigger import Broker, Desired
from broker.workers.link import Link
from broker.workers.worker import Worker

SOON = 30.0


class Process:
    """Notes what it is to run, and says so when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[Desired, asyncio.Future[None]]] = asyncio.Queue()

    def apply(self, desired: Desired) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((desired, done))
        return done


@asynccontextmanager
async def linked(process: Process) -> AsyncIterator[Worker]:
    worker = Worker(1, Settings(paths=(Path("x"),)), processes=2, upstream={})
    ends = socket.socketpair()
    for each in ends:
        each.settimeout(0)
    other = Link("the first process", handlers={"apply": process.apply})
    await worker._link.open(ends[0])
    await other.open(ends[1])
    async with asyncio.timeout(SOON):
        yield worker
    other.close()


def desired(name: str) -> Desired:
    return Desired(brokers={name: Broker(key=name)})


async def test_what_changes_before_a_worker_runs_it_is_what_it_runs_in_the_end() -> None:
    process = Process()
    async with linked(process) as worker:
        first = asyncio.ensure_future(worker.apply(desired("default/a")))
        asked, done = await process.asked.get()
        assert asked == desired("default/a")

        await worker.apply(desired("default/b"))
        done.set_result(None)
        asked, done = await process.asked.get()
        assert asked == desired("default/b")
        assert worker.seen.state == "starting"
        done.set_result(None)
        await first

    assert process.asked.empty()


async def test_a_shard_that_is_still_held_is_waited_for() -> None:
    process = Process()
    async with linked(process) as worker:
        first = asyncio.ensure_future(worker.apply(desired("default/a")))
        for _ in range(2):
            _, done = await process.asked.get()
            done.set_exception(DataDirectoryInUse("it is in use by process 7"))
        _, done = await process.asked.get()
        done.set_result(None)
        await first


async def test_what_cannot_be_run_is_raised() -> None:
    process = Process()
    async with linked(process) as worker:
        first = asyncio.ensure_future(worker.apply(desired("default/a")))
        _, done = await process.asked.get()
        done.set_exception(ChannelUnavailable("the file is damaged"))
        with pytest.raises(ChannelUnavailable, match="the file is damaged"):
            await first
