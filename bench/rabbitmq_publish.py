"""What publishing costs beside aio-pika itself: `python -m bench.rabbitmq_publish`.

It starts a RabbitMQ of its own. Both publish the same messages, persistent, mandatory and
confirmed, to the exchange of a broker, which leads to the stream of all events and to the quorum
queue of one trigger, and have as many calls of one event waiting at any time. Rounds alternate
between them, so that a machine whose speed drifts slows both; quoted are medians, and the ratios
within each round. Takes about three minutes.

* *bare*: aio-pika, over a connection and a channel of its own, with publisher confirms.
* *append*: `RabbitmqChannel.append`, which is what the ingress calls.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import aio_pika
import uvloop
from aio_pika.abc import AbstractExchange, AbstractQueue

from bench.rabbitmq import BROKER, Clock, backend, event, in_turn, ratios, server
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.names import broker_name, trigger_name
from broker.codecs.amqp import encode
from broker.filters import EVERYTHING

EVENTS: Final = 10_000
WAITING: Final = (64, 512)
ROUNDS: Final = 7
TRIGGER: Final = "default/all"

Publish = Callable[[int], Awaitable[object]]


def bare(exchange: AbstractExchange) -> Publish:
    """Return what publishes by aio-pika."""

    def publish(number: int) -> Awaitable[object]:
        encoded = encode(event(number))
        message = aio_pika.Message(
            encoded.body,
            headers=dict(encoded.headers),
            content_type=encoded.content_type,
            delivery_mode=encoded.delivery_mode,
            message_id=uuid4().hex,
        )
        return exchange.publish(message, routing_key="")

    return publish


def append(channel: RabbitmqChannel) -> Publish:
    """Return what appends by the channel."""
    return lambda number: channel.append([event(number)])


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[tuple[Mapping[str, Publish], AbstractQueue]]:
    """Return both, as long as this is entered, and the queue that they publish to."""
    async with (
        backend(url) as rabbitmq,
        await aio_pika.connect(url) as connection,
        connection.channel(publisher_confirms=True) as client,
    ):
        channel = await rabbitmq.channel(BROKER, {}, {})
        async with channel.subscribe(TRIGGER, filter=EVERYTHING, window=1):
            pass  # so that it has a queue
        queue = await client.get_queue(trigger_name(BROKER, TRIGGER))
        exchange = await client.get_exchange(broker_name(BROKER))
        yield {"bare": bare(exchange), "append": append(channel)}, queue


async def measure(url: str) -> None:
    """Print what each costs."""
    async with publishing(url) as (measured, queue):
        for publish in measured.values():
            await in_turn(500, 64, publish)
        for waiting in WAITING:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
            for _ in range(ROUNDS):
                for name, publish in measured.items():
                    clock = Clock()
                    await in_turn(EVENTS, waiting, publish)
                    found[name].append(clock.taken())
                    await queue.purge()
            tell(waiting, found)


def tell(waiting: int, found: dict[str, list[tuple[float, float]]]) -> None:
    for name, each in found.items():
        times, work = ([taken[which] for taken in each] for which in (0, 1))
        base = [[taken[which] for taken in found["bare"]] for which in (0, 1)]
        sys.stdout.write(
            f"{waiting:>4} at once, {name:<7} {EVENTS / statistics.median(times):6.0f} events/s, "
            f"{statistics.median(work) / EVENTS * 1e6:4.0f} µs of our processor an event; "
            f"time {ratios(times, base[0])}, processor {ratios(work, base[1])} times bare\n"
        )


def main() -> None:
    with server() as running:
        uvloop.run(measure(running.listeners.url()))


if __name__ == "__main__":
    main()
