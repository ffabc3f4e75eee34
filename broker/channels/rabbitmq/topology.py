"""What a broker has on the server: its exchange, its streams, and the queues of its triggers.

==============================  =====================================================
``b.shop.orders``               headers exchange: events come in here
``b.shop.orders#events``        stream of all events
``t.shop.orders:audit``         queue of the trigger ``shop/audit``, bound by its filter
``t.shop.orders:audit#ordered`` the same, with a single active consumer
``b.shop.orders#wait``          headers exchange: deliveries that wait
``b.shop.orders#wait-250ms``    queue of those that wait so long, and so on
``b.shop.orders#returned``      queue of what the server took out of a trigger's queue
``b.shop.orders#dead-letters``  stream
``b.shop.orders#state``         stream
``b.shop.orders#steward``       exclusive queue of the process that tells the books
==============================  =====================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiormq import ChannelLockedResource, ChannelNotFoundEntity
from aiormq.abc import AbstractChannel, ArgumentsType

from broker.channels.rabbitmq.connecting import at, reported
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.names import broker_name, trigger_name
from broker.channels.rabbitmq.settings import QueueType
from broker.codecs.amqp import STRUCTURED, matching
from broker.errors import ChannelUnavailable
from broker.filters import Filter
from broker.filters.covers import demands

ORDERED: Final = "ordered"
"""The part of a trigger that is its queue with a single active consumer."""

WAIT: Final = "cemesh-wait"
"""The header of a message that is put off: the step, in milliseconds."""

Binding = Mapping[str, str | None]
"""Headers that a message has to have; None stands for any value."""

# Quorum queues drop what was given back that often, and 4.x has a default of 20.
_NO_DELIVERY_LIMIT: Final = 1_000_000_000
_LOSES_NOTHING: Final = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
_KEEPS_NOTHING: Final[ArgumentsType] = {"x-max-length": 0}
_UNKNOWN: Final = "NOT_FOUND - no "  # of a queue that is not up yet it says otherwise
_LONGEST: Final = 240
_LOOKS_EVERY: Final = 0.2


def bindings(filter: Filter) -> Sequence[Binding]:
    """Return what a message has to have, one of them, to be for a trigger with that filter.

    Messages may have it that are for other triggers only.
    """
    found = matching(demands(filter))
    return [found, STRUCTURED] if found else [{}]


class Topology:
    """Declares what a broker has. Every method raises `ChannelUnavailable`."""

    def __init__(self, link: Link, broker: str, queue_type: QueueType) -> None:
        self.link: Final = link
        self.broker: Final = broker
        self._queue_type = queue_type
        self.exchange: Final = broker_name(broker)
        self.events: Final = broker_name(broker, "events")
        self.returned: Final = broker_name(broker, "returned")
        self.wait: Final = broker_name(broker, "wait")
        self.dead_letters: Final = broker_name(broker, "dead-letters")
        self.state: Final = broker_name(broker, "state")
        self.steward: Final = broker_name(broker, "steward")

    def queue(self, trigger: str, *, ordered: bool) -> str:
        """Return the name of a trigger's queue."""
        return trigger_name(self.broker, trigger, ORDERED if ordered else None)

    def is_ordered(self, trigger: str, queue: str) -> bool:
        """Return whether that queue of the trigger has a single active consumer."""
        return queue == self.queue(trigger, ordered=True)

    async def declare(self) -> None:
        """Make what every broker has, apart from its streams, which have to be there."""
        async with self._channel() as channel:
            await channel.exchange_declare(self.exchange, exchange_type="headers", durable=True)
            await channel.exchange_declare(self.wait, exchange_type="headers", durable=True)
            await channel.queue_declare(
                self.returned,
                durable=True,
                arguments={"x-queue-type": "quorum", "x-delivery-limit": _NO_DELIVERY_LIMIT},
            )
        await self.bind_events()

    async def has_exchange(self) -> bool:
        """Return whether there is the broker's exchange."""
        return await self._finds(lambda it: it.exchange_declare(self.exchange, passive=True))

    async def bind_events(self) -> None:
        """Let all events go to the stream: the exchange and the stream have to be there."""
        async with self._channel() as channel:
            await channel.queue_bind(self.events, self.exchange, arguments={"x-match": "all"})

    async def declare_step(self, milliseconds: int) -> None:
        """Make the queue in which messages wait for so long."""
        name = broker_name(self.broker, f"wait-{milliseconds}ms")
        async with self._channel() as channel:
            await channel.queue_declare(
                name,
                durable=True,
                arguments={
                    **_LOSES_NOTHING,
                    "x-message-ttl": milliseconds,
                    "x-dead-letter-exchange": "",  # to the queue that the routing key names
                },
            )
            arguments: ArgumentsType = {"x-match": "all", WAIT: str(milliseconds)}
            await channel.queue_bind(name, self.wait, arguments=arguments)

    # --- queues of triggers ----------------------------------------------------------------

    async def is_there(self, queue: str) -> bool:
        """Return whether there is that queue."""
        return await self._finds(lambda it: it.queue_declare(queue, passive=True))

    async def declare_queue(self, queue: str, *, ordered: bool) -> None:
        """Make the queue of a trigger, unless it is there."""
        arguments: ArgumentsType = {
            "x-queue-type": self._queue_type,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.returned,
        }
        if self._queue_type == "quorum":
            arguments |= _LOSES_NOTHING | {"x-delivery-limit": _NO_DELIVERY_LIMIT}
        if ordered:
            arguments["x-single-active-consumer"] = True
        async with self._channel() as channel:
            await channel.queue_declare(queue, durable=True, arguments=arguments)

    @asynccontextmanager
    async def alone(self, queue: str, *, until: Callable[[], bool]) -> AsyncIterator[None]:
        """Let no other process do the same about the queue.

        If one does, this waits until it has ended, or that is so.
        """
        lock = f"{queue}#alone" if len(queue) < _LONGEST else queue[:_LONGEST]
        while not (is_mine := await self._lock(lock)) and not until():  # noqa: ASYNC110
            await asyncio.sleep(_LOOKS_EVERY)
        try:
            yield
        finally:
            if is_mine:
                await self.delete(lock)

    async def _lock(self, name: str) -> bool:
        """Return whether this process has a queue that nobody else can have while it lives."""
        try:
            async with self._channel() as channel:
                await channel.queue_declare(name, exclusive=True, arguments=_KEEPS_NOTHING)
        except ChannelUnavailable as error:
            if isinstance(error.__cause__, ChannelLockedResource):
                return False
            raise
        return True

    async def bind(self, queue: str, wanted: Sequence[Binding]) -> None:
        """Let what has one of these go to the queue."""
        async with self._channel() as channel:
            for each in wanted:
                arguments: ArgumentsType = {"x-match": "all", **each}
                await channel.queue_bind(queue, self.exchange, arguments=arguments)

    async def unbind(self, queue: str, former: Sequence[Binding]) -> None:
        """Undo `bind`, as far as it was done."""
        async with self._channel() as channel:
            for each in former:
                arguments: ArgumentsType = {"x-match": "all", **each}
                await channel.queue_unbind(queue, self.exchange, arguments=arguments)

    async def delete(self, queue: str) -> int:
        """Delete the queue, if it is there, and return how many messages were in it."""
        async with self._channel() as channel:
            return (await channel.queue_delete(queue)).message_count or 0

    async def _finds(self, ask: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
        try:
            async with self._channel() as channel:
                await ask(channel)
        except ChannelUnavailable as error:
            if is_missing(error):
                return False
            raise
        return True

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """Open a channel for a while: whatever is refused closes it."""
        channel = await self.link.open_channel()
        with reported(self.link.settings):
            try:
                yield channel
            finally:
                if not channel.is_closed:
                    await channel.close()


def is_missing(error: ChannelUnavailable) -> bool:
    """Return whether the server said that what was asked for is not there, or not yet."""
    return isinstance(error.__cause__, ChannelNotFoundEntity)


def is_gone(error: ChannelUnavailable) -> bool:
    """Return whether the server said that it does not know what was asked for."""
    return is_missing(error) and _UNKNOWN in str(error)


def unusable(link: Link, what: str) -> ChannelUnavailable:
    """Return the error that something which the broker has on the server is gone."""
    return ChannelUnavailable(f"{at(link.settings)}: {what} is gone; it is being made again")
