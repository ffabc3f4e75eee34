"""What the embedded channel costs beside SQLite itself: `python bench/embedded_channel.py`.

Rounds alternate between the channel and its baseline, so that a machine whose speed drifts
slows both; quoted are medians, and the ratios within each round. Takes about half a minute.

* *bare*: the same rows, inserted and committed (synchronous=FULL) by one connection, as many
  in a commit as there are appends waiting, with nobody reading them.
* *channel*: appended, matched, claimed and settled, with 1 trigger and with 1,000 of which one
  matches.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from pathlib import Path

import uvloop

from broker.channels.embedded import EmbeddedBackend
from broker.channels.embedded.records import encode_head
from broker.event import Event
from broker.filters import EVERYTHING, Exact
from broker.ports import BackendOptions, Outcome

EVENTS = 10_240
WAITING = 64
ROUNDS = 5
PAYLOAD = b"x" * 1024


def event(number: int) -> Event:
    return Event(
        {"specversion": "1.0", "id": str(number), "source": "/bench", "type": "bench"}, PAYLOAD
    )


def bare(folder: Path) -> float:
    """Return the events a second of SQLite alone."""
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("CREATE TABLE log (position INTEGER PRIMARY KEY, head TEXT, data BLOB)")
        started = time.perf_counter()
        for first in range(0, EVENTS, WAITING):
            rows = [(n, encode_head(event(n)), PAYLOAD) for n in range(first, first + WAITING)]
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany("INSERT INTO log VALUES (?, ?, ?)", rows)
            writer.execute("COMMIT")
        return EVENTS / (time.perf_counter() - started)


def channel(triggers: int) -> Callable[[Path], float]:
    """Return the measurement of the channel with so many triggers, of which one matches."""
    return lambda folder: uvloop.run(_channel(folder, triggers))


async def _channel(folder: Path, triggers: int) -> float:
    options = BackendOptions(
        data_dir=str(folder), retention_age=timedelta(days=7), retention_bytes=1 << 30
    )
    async with AsyncExitStack() as running:
        backend = await running.enter_async_context(EmbeddedBackend.from_url("sqlite:", options))
        log = await backend.channel("default/default", {}, {})
        for number in range(triggers - 1):
            never = Exact((("type", f"other{number}"),))
            subscription = log.subscribe(f"default/t{number}", filter=never, window=100)
            await running.enter_async_context(subscription)
        cursor = await running.enter_async_context(
            log.subscribe("default/all", filter=EVERYTHING, window=100)
        )

        async def settle() -> None:
            left = EVENTS
            async for claim in cursor.claims():
                cursor.settle(claim, Outcome.DELIVERED)
                left -= 1
                if not left:
                    return

        async def append(first: int) -> None:
            for number in range(first, EVENTS, WAITING):
                await log.append([event(number)])

        started = time.perf_counter()
        await asyncio.gather(settle(), *(append(first) for first in range(WAITING)))
        return EVENTS / (time.perf_counter() - started)


def main() -> None:
    measured = {"bare": bare, "channel, 1": channel(1), "channel, 1,000": channel(1_000)}
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(ROUNDS):
        for name, measure in measured.items():
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                rates[name].append(measure(Path(folder)))
    for name, each in rates.items():
        ratios = [rate / base for rate, base in zip(each, rates["bare"], strict=True)]
        sys.stdout.write(
            f"{name:<16} {statistics.median(each):>9,.0f} events/s"
            f"   {statistics.median(ratios):.2f} of bare"
            f" ({min(ratios):.2f} to {max(ratios):.2f})\n"
        )


if __name__ == "__main__":
    main()
