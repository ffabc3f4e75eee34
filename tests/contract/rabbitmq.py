"""A channel on a real RabbitMQ, for tests of what is RabbitMQ's own about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aio_pika
from aiormq.abc import AbstractChannel

from broker.channels.rabbitmq.backend import RabbitmqBackend
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.names import broker_name, trigger_name
from broker.channels.rabbitmq.settings import Settings, from_url, settings
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.ports import Channel
from tests.contract.harness import BROKER, options
from tests.contract.test_channel import TRIGGER
from tests.services.rabbitmq.server import RabbitMQServer

SOON: Final = 30.0
"""Seconds within which whatever is to happen must have happened."""

WITHIN: Final = 60.0
"""Seconds within which a connection that was lost is there again, on a busy machine, too."""

EXCHANGE: Final = broker_name(BROKER)
QUEUE: Final = trigger_name(BROKER, TRIGGER)


def settings_of(url: str) -> Settings:
    """Return the settings of a broker that is where ``--channel`` says."""
    return settings("default/test", {}, {}, defaults=from_url(url))


def part(name: str) -> str:
    """Return the name of what else the broker has."""
    return broker_name(BROKER, name)


@asynccontextmanager
async def opened(
    url: str, data_dir: Path, config: Mapping[str, str] | None = None
) -> AsyncIterator[RabbitmqChannel]:
    """Run a process of the broker, with the channel that this yields."""
    async with RabbitmqBackend.from_url(url, options(data_dir)) as backend:
        yield await backend.channel(BROKER, config or {}, {})


@asynccontextmanager
async def client(url: str) -> AsyncIterator[AbstractChannel]:
    """Yield a channel of somebody else's, with publisher confirms."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel(publisher_confirms=True) as channel:
        yield await channel.get_underlay_channel()


async def append_at_last(channel: Channel, *events: Event) -> None:
    """Append the events as soon as the server takes them."""

    async def is_taken() -> bool:
        try:
            await channel.append(events)
        except (ChannelUnavailable, ChannelFull):
            return False
        return True

    await until(is_taken)


async def until(holds: Callable[[], object | Awaitable[object]], *, within: float = WITHIN) -> None:
    """Return once that is so; raise TimeoutError if it is not."""
    async with asyncio.timeout(within):
        while True:
            found = holds()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


STREAMS: Final = "rabbit_stream_coordinator"


def has_written_down(server: RabbitMQServer, *names: str) -> bool:
    """Return whether the server has noted on disk that it has these queues, or STREAMS at all.

    RabbitMQ 3.10 takes half a second for it. Killed before, it finds its first stream no more, and
    no leader for a queue.
    """
    files = server.folder.glob("data/*/*/*/names.dets")
    known = b"".join(each.read_bytes() for each in files)
    return all(name.encode() in known for name in names)
