"""Queues of RabbitMQ as others see them: for tests of what reads and writes them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from urllib.parse import unquote, urlsplit

from aiormq.abc import ArgumentsType
from pamqp.commands import Basic

from broker.codecs.amqp import decode
from broker.event import Event
from cemesh.testing import RunningSource, running
from sinks.rabbitmq import RabbitmqSink, RabbitmqSinkSpec
from sources.rabbitmq import RabbitmqSource, RabbitmqSpec
from tests.contract.rabbitmq import client
from tests.services.relay import Relay

QUORUM: ArgumentsType = {"x-queue-type": "quorum"}


def access(url: str) -> dict[str, object]:
    """Return what a ``spec`` says to come where the URL leads, as whom it says."""
    parts = urlsplit(url)
    _, _, address = parts.netloc.rpartition("@")
    return {
        "url": parts._replace(netloc=address).geturl(),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }


def spec_of(url: str, queue: str, **said: object) -> RabbitmqSpec:
    resources = {"queueName": queue, **(said or {"predeclared": True})}
    return RabbitmqSpec.model_validate({**access(url), "rabbitmqResourcesConfig": resources})


def read(url: str, queue: str, **said: object) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source on the queue, which is there unless anything else is said of it."""
    return running(RabbitmqSource, spec_of(url, queue, **said), name="orders")


async def declare(url: str, queue: str, arguments: ArgumentsType | None = None) -> None:
    async with client(url) as channel:
        await channel.queue_declare(queue, durable=True, arguments=arguments or QUORUM)


async def publish(
    url: str,
    routing_key: str,
    *bodies: bytes,
    exchange: str = "",
    headers: Mapping[str, object] | None = None,
    **properties: object,
) -> None:
    """Publish persistent messages, and return once the server has them all.

    aiormq gives each a message id of its own, unless there is one among the properties.
    """
    told = {"delivery_mode": 2, "headers": dict(headers or {}), **properties}
    async with client(url) as channel:
        for body in bodies:
            await channel.basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=Basic.Properties(**told),  # type: ignore[arg-type]  # as they are said
            )


async def waiting(url: str, queue: str) -> int:
    """Return how many messages the queue has that nobody has been given."""
    async with client(url) as channel:
        return (await channel.queue_declare(queue, passive=True)).message_count or 0


async def taken(url: str, queue: str, count: int) -> Sequence[tuple[Basic.Properties, bytes]]:
    """Return the next messages of the queue, and take them away."""
    found: list[tuple[Basic.Properties, bytes]] = []
    async with asyncio.timeout(30), client(url) as channel:
        while len(found) < count:
            message = await channel.basic_get(queue, no_ack=True)
            if message.delivery_tag is None:
                await asyncio.sleep(0.01)
                continue
            found.append((message.header.properties, message.body))
    return found


class MessagesOfAQueue:
    """A queue that gets a message for each thing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue = f"upstream-{uuid.uuid4()}"
        self.source: object = RabbitmqSource
        self.spec: object = spec_of(url, self._queue)

    @classmethod
    async def made(cls, url: str) -> MessagesOfAQueue:
        found = cls(url)
        await declare(url, found._queue)
        return found

    async def bring(self, number: int) -> None:
        await publish(self._url, self._queue, b"%d" % number)

    def number_of(self, event: Event) -> int:
        return int(event.data or b"")


class QueueOfRabbitmq:
    """A queue, and a way to it that can be cut."""

    def __init__(self, url: str, relay: Relay) -> None:
        self._url = url
        self._relay = relay
        self._queue = f"downstream-{uuid.uuid4()}"
        self.sink: object = RabbitmqSink
        self.spec: object = RabbitmqSinkSpec.model_validate(
            {**access(relay.in_url(url)), "routingKey": self._queue}
        )

    @classmethod
    async def made(cls, url: str, relay: Relay) -> QueueOfRabbitmq:
        found = cls(url, relay)
        await declare(url, found._queue)
        return found

    async def arrived(self, count: int) -> Sequence[Event]:
        found = await taken(self._url, self._queue, count)
        return [
            decode(each.headers or {}, body, content_type=each.content_type)[0]
            for each, body in found
        ]

    def outage(self) -> AbstractContextManager[None]:
        return self._relay.cut()
