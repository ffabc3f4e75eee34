"""What producing costs beside aiokafka itself: `python bench/kafka_producer.py HOST:PORT`.

`make kafka` starts a server to measure with. Rounds alternate between the three, so that a
machine whose speed drifts slows all; quoted are medians, and the ratios within each round. Each
has the same settings, acks=all and idempotent, batches of 256 KiB, linger 0, and as many
requests of one event waiting at any time. Takes about a minute.

* *bare*: `create_batch` and `send_batch`, the events of all who wait in one batch.
* *append*: `Producing.append` for each event.
* *send_and_wait*: aiokafka's own call for each event.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import uvloop
from aiokafka import AIOKafkaProducer

from broker.channels.kafka.lanes import BATCH_BYTES
from broker.channels.kafka.producing import Producing
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import Record, encode
from broker.event import Event

EVENTS: Final = 40_000
WAITING: Final = 200
ROUNDS: Final = 7
PARTITIONS: Final = 10

_EVENT: Final = Event(
    {"specversion": "1.0", "id": "1", "source": "/bench", "type": "bench"}, b"x" * 1024
)
RECORD: Final[Record] = encode(_EVENT)

Measure = Callable[[ClientOptions, str], Awaitable[tuple[float, float]]]


def a_producer(options: ClientOptions) -> Any:  # noqa: ANN401 - aiokafka has no types
    """Return a producer with the settings of `Producing`."""
    return AIOKafkaProducer(
        **options, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=BATCH_BYTES
    )


async def bare(options: ClientOptions, topic: str) -> tuple[float, float]:
    """Measure batches that hold one event of each who waits, with nobody to tell."""
    async with a_producer(options) as producer:
        await producer.partitions_for(topic)
        clock = started()
        for number in range(EVENTS // WAITING):
            batch = producer.create_batch()
            for _ in range(WAITING):
                batch.append(
                    timestamp=None, key=RECORD.key, value=RECORD.value, headers=RECORD.headers
                )
            stored = await producer.send_batch(batch, topic, partition=number % PARTITIONS)
            await stored
        return taken(clock)


async def append(options: ClientOptions, topic: str) -> tuple[float, float]:
    """Measure our own."""
    async with Producing(options) as producing:
        await producing.append(topic, [RECORD])
        clock = started()
        await _wait_for_each(lambda: producing.append(topic, [RECORD]))
        return taken(clock)


async def send_and_wait(options: ClientOptions, topic: str) -> tuple[float, float]:
    """Measure aiokafka's call for one event."""
    async with a_producer(options) as producer:
        await producer.partitions_for(topic)
        clock = started()
        await _wait_for_each(
            lambda: producer.send_and_wait(
                topic, RECORD.value, key=RECORD.key, headers=RECORD.headers
            )
        )
        return taken(clock)


def started() -> tuple[float, float]:
    """Return the time, and the processor time of this process."""
    return time.perf_counter(), time.process_time()


def taken(clock: tuple[float, float]) -> tuple[float, float]:
    """Return the µs an event, of time and of this process's processor time."""
    now = started()
    return (now[0] - clock[0]) / EVENTS * 1e6, (now[1] - clock[1]) / EVENTS * 1e6


async def _wait_for_each(call: Callable[[], Awaitable[object]]) -> None:
    async def one_after_the_other() -> None:
        for _ in range(EVENTS // WAITING):
            await call()

    await asyncio.gather(*(one_after_the_other() for _ in range(WAITING)))


async def measure_all(address: str) -> None:
    """Print the cost of each."""
    options = settings(
        "default/bench", {}, {}, defaults=from_url(f"kafka://{address}")
    ).client_options()
    topic = f"bench-{uuid4()}"
    await ensure_topic(
        options,
        topic,
        partitions=PARTITIONS,
        replication_factor=1,
        config={"retention.ms": "600000"},
    )
    measured: dict[str, Measure] = {"bare": bare, "append": append, "send_and_wait": send_and_wait}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
    for _ in range(ROUNDS):
        for name, measure in measured.items():
            found[name].append(await measure(options, topic))
    for name, each in found.items():
        base = found["bare"]
        times = [mine[0] / its[0] for mine, its in zip(each, base, strict=True)]
        work = [mine[1] / its[1] for mine, its in zip(each, base, strict=True)]
        sys.stdout.write(
            f"{name:<14} {statistics.median(time for time, _ in each):6.1f} µs an event, "
            f"{statistics.median(work for _, work in each):5.1f} of them our processor's; "
            f"{statistics.median(times):.2f} times bare ({min(times):.2f} to {max(times):.2f}), "
            f"processor {statistics.median(work):.2f}\n"
        )


if __name__ == "__main__":
    uvloop.run(measure_all(sys.argv[1]))
