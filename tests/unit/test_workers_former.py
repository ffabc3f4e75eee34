"""What a worker has counted, over the processes that do its work one after the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from broker.ports import Books
from broker.settings import Settings
from broker.status import (
    BrokerStatus,
    Counts,
    MeshStatus,
    SourceStatus,
    Tally,
    TriggerStatus,
)
from broker.trigger import Desired
from broker.workers.former import Former
from broker.workers.link import Link
from broker.workers.worker import Worker

SOON = 30.0
REFUSED = ("cemesh_refused_requests_total", ("", "404", "unknown_broker"))
CHANNEL = ("cemesh_channel_duration_seconds", ("default/audit",))


def told(number: int, *, in_flight: int = 0) -> MeshStatus:
    """Return what a process tells that has had so much of everything."""
    trigger = TriggerStatus(
        key="default/audit",
        broker="default/default",
        subscriber="x:",
        in_flight=in_flight,
        books=Books(
            matched=number, delivered=number, dead_lettered=0, waiting=0, oldest_waiting=None
        ),
    )
    broker = BrokerStatus(
        key="default/default",
        channel="sqlite",
        accepted=number,
        unavailable=None,
        triggers=[trigger],
    )
    source = SourceStatus(
        kind="WebhookSource",
        key="default/hook",
        broker="default/default",
        state="running",
        error=None,
        emitted=number,
        rejected=number,
    )
    counts = Counts(
        counters={REFUSED: number},
        durations={CHANNEL: Tally(buckets=[number, 0], seconds=float(number))},
    )
    return MeshStatus(brokers=[broker], sources=[source], problems=[], elsewhere=counts)


def counted(status: MeshStatus) -> tuple[int, Tally, int, int]:
    (source,) = status.sources
    counts = status.elsewhere
    return counts.counters[REFUSED], counts.durations[CHANNEL], source.emitted, source.rejected


def test_what_processes_had_counted_that_have_ended_is_added_to_what_the_next_counts() -> None:
    former = Former()
    former.take(told(5))
    former.take(told(2))

    status = former.add(told(1))

    assert counted(status) == (8, Tally(buckets=[8, 0], seconds=8.0), 8, 8)
    assert status.brokers[0].accepted == 1, "the books are durable, and count by themselves"


def test_the_rest_of_what_a_process_told_is_as_it_was_but_nothing_is_under_way() -> None:
    former = Former()

    rest = former.take(told(5, in_flight=3))

    assert counted(former.add(rest)) == (5, Tally(buckets=[5, 0], seconds=5.0), 5, 5)
    (broker,) = rest.brokers
    assert (broker.accepted, broker.triggers[0].books.matched) == (5, 5)
    assert broker.triggers[0].in_flight == 0


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Worker, asyncio.Queue[MeshStatus]]]:
    """Yield a worker, and where its stand-in for a process gets what it tells."""
    worker = Worker(1, Settings(paths=(Path("x"),)), processes=2, upstream={})
    answers: asyncio.Queue[MeshStatus] = asyncio.Queue()
    ends = socket.socketpair()
    for each in ends:
        each.settimeout(0)

    async def apply(_: Desired) -> None:
        pass

    other = Link("the first process", handlers={"apply": apply, "status": answers.get})
    await worker._link.open(ends[0])
    await other.open(ends[1])
    async with asyncio.timeout(SOON):
        yield worker, answers
    other.close()


async def test_a_worker_that_runs_nothing_yet_does_not_say_that_its_books_are_empty() -> None:
    async with linked() as (worker, answers):
        before = await worker.status()

        await worker.apply(Desired())
        answers.put_nowait(told(5))
        after = await worker.status()

    assert (before.is_whole, before.brokers) == (False, ())
    assert (after.is_whole, after.brokers[0].accepted) == (True, 5)
