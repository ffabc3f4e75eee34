"""What the measurements on RabbitMQ have in common: a server of their own, and what is sent."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from broker.channels.rabbitmq import RabbitmqBackend
from broker.event import Event
from broker.ports import BackendOptions
from tests.services.missing import Missing
from tests.services.rabbitmq.distribution import find
from tests.services.rabbitmq.server import RabbitMQServer

BROKER: Final = "default/bench"
ATTRIBUTES: Final = {
    "specversion": "1.0",
    "source": "/shop/berlin",
    "type": "com.example.order.placed",
    "subject": "1042",
    "time": "2026-11-22T01:27:05.000329Z",
    "datacontenttype": "application/json",
}


# The server of the tests looks at its queues ten times as often, which costs it with a thousand.
AS_BY_DEFAULT: Final = (
    "application:set_env(rabbit, quorum_tick_interval, 5000), "
    "application:set_env(rabbit, collect_statistics_interval, 5000)."
)


@contextmanager
def server() -> Iterator[RabbitMQServer]:
    """Run a server that nobody else has, and forget it."""
    distribution = find()
    if isinstance(distribution, Missing):
        sys.exit(distribution.reason)
    with (
        tempfile.TemporaryDirectory() as folder,
        RabbitMQServer(Path(folder), distribution) as running,
    ):
        running.ctl("eval", AS_BY_DEFAULT)
        yield running


def backend(url: str) -> RabbitmqBackend:
    """Return a backend as `cemesh run` has it."""
    options = BackendOptions(data_dir="", retention_age=timedelta(days=7), retention_bytes=1 << 30)
    return RabbitmqBackend.from_url(url, options)


def event(number: int) -> Event:
    """Return an event of 1 KiB of payload and seven attributes."""
    return Event({**ATTRIBUTES, "id": str(number)}, b"x" * 1024)


class Clock:
    """Time, and processor time of this process, since this was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def taken(self) -> tuple[float, float]:
        """Return both, in seconds."""
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]


async def in_turn(count: int, at_once: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Await calls with 0, 1, …, ``at_once`` of them at any time."""
    numbers = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))


def ratios(mine: Sequence[float], base: Sequence[float]) -> str:
    """Return the median of the ratios within each round, and their range."""
    found = [each / its for each, its in zip(mine, base, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
