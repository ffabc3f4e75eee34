"""What handing events out costs on Kafka: `python -m bench.kafka_consume HOST:PORT`.

`make kafka` starts a server to measure with. Each measurement is a process of its own, which
subscribes a number of triggers and settles whatever it is handed at once; another process
appends events of 1 KiB meanwhile, at a fixed rate. Rounds alternate between the measurements, so
that a machine whose speed drifts slows all; quoted are medians, and the ratios within each
round. Takes about five minutes.

* *triggers*: how many are subscribed, of which one matches. Quoted is the processor time of the
  process for each event, and what it takes in memory.
* *neighbour*: one trigger gets every event, alone or beside another one whose subscriber refuses
  or does not answer, so that every delivery is put off, or stays out. Quoted is how many of the
  events are settled by the end of the time in which they were appended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlencode
from uuid import uuid4

import uvloop

from broker.channels.kafka import KafkaBackend
from broker.event import Event
from broker.filters import EVERYTHING, Exact, Filter
from broker.ports import BackendOptions, Cursor, Outcome, Refusal
from broker.trigger import DeliveryPolicy

TRIGGERS: Final = (1, 10, 100, 1_000)
NEIGHBOURS: Final = ("none", "refuses", "hangs")
PARTITIONS: Final = 12
RATE: Final = 1_000
SECONDS: Final = 6
ROUNDS: Final = 3
BROKER: Final = "default/bench"
RETRIES: Final = DeliveryPolicy().retry
REFUSED: Final = Refusal(
    destination="http://127.0.0.1:9/", reason="refused", status=None, body=b"", attempts=11
)


def backend(address: str, name: str) -> KafkaBackend:
    """Return the backend of a broker whose topics are named for this measurement."""
    template = f"{name}-{{{{ .Name }}}}"
    query = {
        "default.topic.partitions": str(PARTITIONS),
        "default.topic.replication.factor": "1",
        "brokers.topic.template": template,
        "triggers.consumergroup.template": template,
    }
    options = BackendOptions(data_dir="", retention_age=timedelta(days=1), retention_bytes=1 << 30)
    return KafkaBackend.from_url(f"kafka://{address}?{urlencode(query)}", options)


def event(number: int) -> Event:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/bench", "type": "match"}
    return Event(attributes, b"x" * 1024)


async def feed(address: str, name: str) -> None:
    """Append events at the rate, ten times a second as many as are due."""
    async with backend(address, name) as kafka:
        channel = await kafka.channel(BROKER, {}, {})
        began = time.monotonic()
        sent = 0
        while sent < RATE * SECONDS:
            due = min(RATE * SECONDS, round((time.monotonic() - began) * RATE))
            for start in range(sent, due, 50):
                await channel.append([event(each) for each in range(start, min(due, start + 50))])
            sent = max(sent, due)
            await asyncio.sleep(0.02)


async def settle_all(cursor: Cursor, settled: list[float]) -> None:
    """Settle whatever comes, and note when."""
    async for claim in cursor.claims():
        cursor.settle(claim, Outcome.DELIVERED)
        settled.append(time.monotonic())


async def refuse_all(cursor: Cursor) -> None:
    """Put every delivery off as often as the default policy has it, and then bury it."""
    async for claim in cursor.claims():
        if claim.attempts == RETRIES:
            cursor.bury(claim, REFUSED)
        else:
            delay = timedelta(seconds=0.2 * 2**claim.attempts)
            cursor.defer(claim, delay, attempts=claim.attempts + 1, condemned=None)


async def leave_all(cursor: Cursor) -> None:
    """Keep whatever comes: the subscriber does not answer."""
    async for _ in cursor.claims():
        pass


async def measure(address: str, triggers: int, neighbour: str) -> Mapping[str, float]:
    """Return what one measurement found."""
    name = f"bench-{uuid4().hex[:8]}"
    async with backend(address, name) as kafka, AsyncExitStack() as running:
        channel = await kafka.channel(BROKER, {}, {})

        async def subscribed(trigger: str, filter: Filter) -> Cursor:
            context = channel.subscribe(trigger, filter=filter, window=100)
            return await running.enter_async_context(context)

        empty = memory()
        others = range(1, triggers)
        filters = [Exact((("type", f"other-{number}"),)) for number in others]
        cursor = await subscribed("default/match", EVERYTHING)
        await asyncio.gather(*(subscribed(f"default/{each}", filters[each - 1]) for each in others))
        settled: list[float] = []
        async with asyncio.TaskGroup() as work:
            tasks = [work.create_task(settle_all(cursor, settled))]
            if neighbour != "none":
                other = await subscribed("default/dead", EVERYTHING)
                serve = {"refuses": refuse_all, "hangs": leave_all}[neighbour]
                tasks.append(work.create_task(serve(other)))
            await channel.books()  # which waits until the partitions are held
            clock = time.process_time()
            command = [sys.executable, "-m", "bench.kafka_consume", address, "--feed", name]
            feeder = await asyncio.create_subprocess_exec(*command)
            await feeder.wait()
            in_time = len(settled)
            while len(settled) < RATE * SECONDS:  # noqa: ASYNC110 - few, and it is a benchmark
                await asyncio.sleep(0.01)
            busy = time.process_time() - clock
            for task in tasks:
                task.cancel()
        return {
            "µs": busy / len(settled) * 1e6,
            "MiB": memory() - empty,
            "share": in_time / len(settled),
            "rate": len(settled) / (settled[-1] - settled[0]),
        }


def memory() -> float:
    """Return the MiB that this process has in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / (1 << 20)


def measured(address: str, triggers: int, neighbour: str) -> Mapping[str, float]:
    """Measure in a process of its own."""
    command = [
        *(sys.executable, "-m", "bench.kafka_consume", address),
        *("--triggers", str(triggers), "--neighbour", neighbour),
    ]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this module
    found: Mapping[str, float] = json.loads(told.stdout)
    return found


def measure_all(address: str) -> None:
    """Print what everything costs."""
    alone: dict[int, list[Mapping[str, float]]] = {each: [] for each in TRIGGERS}
    beside: dict[str, list[Mapping[str, float]]] = {each: [] for each in NEIGHBOURS}
    for _ in range(ROUNDS):
        for count in TRIGGERS:
            alone[count].append(measured(address, count, "none"))
        for neighbour in NEIGHBOURS:
            beside[neighbour].append(measured(address, 1, neighbour))
    for count, rounds in alone.items():
        tell(f"{count:>5} triggers", rounds, alone[TRIGGERS[0]], "µs", "µs of processor an event")
        sys.stdout.write(f"{'':>16}{median(rounds, 'MiB'):6.1f} MiB more than without any\n")
    for neighbour, rounds in beside.items():
        tell(f"beside {neighbour:>8}", rounds, beside["none"], "rate", "events a second")


def tell(
    name: str,
    rounds: Sequence[Mapping[str, float]],
    base: Sequence[Mapping[str, float]],
    what: str,
    unit: str,
) -> None:
    """Print a median, and its ratio to another."""
    ratios = [mine[what] / its[what] for mine, its in zip(rounds, base, strict=True)]
    sys.stdout.write(
        f"{name:<15} {median(rounds, what):6.0f} {unit}; {statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f})\n"
    )


def median(rounds: Sequence[Mapping[str, float]], what: str) -> float:
    return statistics.median(each[what] for each in rounds)


def main() -> None:
    """Measure all, or be one of the processes that it takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--feed", help=argparse.SUPPRESS)
    parser.add_argument("--triggers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--neighbour", choices=NEIGHBOURS, default="none", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        uvloop.run(feed(given.address, given.feed))
    elif given.triggers:
        found = uvloop.run(measure(given.address, given.triggers, given.neighbour))
        json.dump(found, sys.stdout)
    else:
        measure_all(given.address)


if __name__ == "__main__":
    main()
