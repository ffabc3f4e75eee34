"""What a broker has on the server: its exchange, its streams, and the queues of its triggers.

==================================  ========================================================
``b.shop.orders``                   headers exchange: events come in here
``b.shop.orders#keyed``             topic exchange: looks up events that have a key
``b.shop.orders#unkeyed``           headers exchange: compares those that have none
``b.shop.orders#events``            stream of all events
``t.shop.orders:audit``             queue of the trigger ``shop/audit``, bound by its filter
``t.shop.orders:audit#ordered``     the same, with a single active consumer
``b.shop.orders#wait``              headers exchange: deliveries that wait
``b.shop.orders#wait-250ms``        queue of those that wait so long, and so on
``b.shop.orders#returned``          queue of what the server took out of a trigger's queue
``b.shop.orders#dead-letters``      stream
``b.shop.orders#state``             stream
``b.shop.orders#steward``           exclusive queue of the process that tells the books
``b.shop.orders#checkpoint:P:a:b``  stream of how far the source ``P a/b`` has come
``b.shop.orders#alone:P:a:b``       exclusive queue of the process that runs it
==================================  ========================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiormq import ChannelLockedResource, ChannelNotFoundEntity
from aiormq.abc import AbstractChannel, ArgumentsType

from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.names import broker_name, trigger_name
from broker.channels.rabbitmq.routing import EVERY_KEY, Binding, Routes
from broker.channels.rabbitmq.settings import QueueType
from broker.connections.rabbitmq.connecting import at, reported
from broker.errors import ChannelUnavailable

ORDERED: Final = "ordered"
"""The part of a trigger that is its queue with a single active consumer."""

WAIT: Final = "cemesh-wait"
"""The header of a message that is put off: the step, in milliseconds."""

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
_LOOKED_AT: Final = 32 << 20  # bytes of messages
_LOOKS_FOR_EXCHANGES_EVERY: Final = 1.0


class Topology:
    """Declares what a broker has. Every method raises `ChannelUnavailable`."""

    def __init__(self, link: Link, broker: str, queue_type: QueueType) -> None:
        self.link: Final = link
        self.broker: Final = broker
        self._queue_type = queue_type
        self._idle: list[AbstractChannel] = []
        self.exchange: Final = broker_name(broker)
        self.keyed: Final = broker_name(broker, "keyed")
        self.unkeyed: Final = broker_name(broker, "unkeyed")
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
            await channel.exchange_declare(
                self.unkeyed, exchange_type="headers", durable=True, internal=True
            )
            await channel.exchange_declare(
                self.keyed,
                exchange_type="topic",
                durable=True,
                internal=True,
                arguments={"alternate-exchange": self.unkeyed},
            )
            await channel.exchange_declare(self.wait, exchange_type="headers", durable=True)
            await channel.queue_declare(
                self.returned,
                durable=True,
                arguments={"x-queue-type": "quorum", "x-delivery-limit": _NO_DELIVERY_LIMIT},
            )
        await self.bind_events()

    async def missing(self) -> Collection[str]:
        """Return which exchanges of those that lead to the queues are not there."""
        names = (self.exchange, self.keyed, self.unkeyed)
        return [name for name in names if not await self._has_exchange(name)]

    async def _has_exchange(self, name: str) -> bool:
        return await self._finds(lambda it: it.exchange_declare(name, passive=True))

    async def watch(self) -> None:
        """Go on as long as all of these exchanges are there; raise what `is_gone` once one is not.

        Nobody else is told, as what is published still gets into the stream.
        """
        async with self._channel() as channel:
            while True:
                for name in (self.exchange, self.keyed, self.unkeyed):
                    await channel.exchange_declare(name, passive=True)
                await asyncio.sleep(_LOOKS_FOR_EXCHANGES_EVERY)

    async def bind_events(self) -> None:
        """Let all events go where they have to: the exchanges and the stream have to be there.

        What has a key is for the stream by that alone: so only the rest is ``unkeyed``.
        """
        everything: ArgumentsType = {"x-match": "all"}
        async with self._channel() as channel:
            await channel.queue_bind(self.events, self.exchange, arguments=everything)
            await channel.queue_bind(self.events, self.keyed, routing_key=EVERY_KEY)
            await channel.exchange_bind(self.keyed, self.exchange, arguments=everything)

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

    async def ready(self, queue: str, *, ordered: bool, most: int) -> Sequence[str | None] | None:
        """Return the message ids of what is in a queue and in nobody's hand, and leave it there.

        None if the queue is gone, or if that is more than ``most``, or than fits into memory. An
        ordered one hands nothing to anybody but its consumer: None unless it is empty.
        """
        found: list[str | None] = []
        channel = await self.link.open_channel()
        try:
            with reported(self.link.settings):
                told = await channel.queue_declare(queue, passive=True)
                if ordered:
                    return None if told.message_count else found
                size = 0
                while len(found) <= most and size <= _LOOKED_AT:
                    message = await channel.basic_get(queue)
                    if message.delivery_tag is None:
                        return found
                    found.append(message.header.properties.message_id)
                    size += len(message.body)
        except ChannelUnavailable as error:
            if not is_missing(error):
                raise
        finally:
            if not channel.is_closed:
                await channel.close()
        return None

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

    async def bind(self, queue: str, wanted: Routes) -> None:
        """Let what goes by one of these go to the queue."""
        async with self._channel() as channel:
            for key in wanted.keys:
                await channel.queue_bind(queue, self.keyed, routing_key=key)
            for headers in wanted.headers:
                await channel.queue_bind(queue, self._compared_by(wanted), arguments=_all(headers))

    async def unbind(self, queue: str, former: Routes, *, but: Routes | None = None) -> None:
        """Undo `bind`, as far as it was done, whichever exchange compares the headers.

        All that is bound ``but`` for these stays.
        """
        kept = [] if but is None else [(self._compared_by(but), each) for each in but.headers]
        async with self._channel() as channel:
            for exchange in (self.exchange, self.unkeyed):
                for headers in former.headers:
                    if (exchange, headers) not in kept:
                        await channel.queue_unbind(queue, exchange, arguments=_all(headers))
            for key in former.keys:
                if but is None or key not in but.keys:
                    await channel.queue_unbind(queue, self.keyed, routing_key=key)

    def _compared_by(self, routes: Routes) -> str:
        return self.unkeyed if routes.keys else self.exchange

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
        """Use a channel for a while, and keep it for the next one unless anything is refused."""
        self._idle = [each for each in self._idle if not each.is_closed]
        channel = self._idle.pop() if self._idle else await self.link.open_channel()
        with reported(self.link.settings):
            try:
                yield channel
            except BaseException:  # also one who is cancelled, and whom an answer is under way to
                if not channel.is_closed:
                    await channel.close()
                raise
        self._idle.append(channel)


def _all(headers: Binding) -> ArgumentsType:
    return {"x-match": "all", **headers}


def is_missing(error: ChannelUnavailable) -> bool:
    """Return whether the server said that what was asked for is not there, or not yet."""
    return isinstance(error.__cause__, ChannelNotFoundEntity)


def is_gone(error: ChannelUnavailable) -> bool:
    """Return whether the server said that it does not know what was asked for."""
    return is_missing(error) and _UNKNOWN in str(error)


def unusable(link: Link, what: str) -> ChannelUnavailable:
    """Return the error that something which the broker has on the server is gone."""
    return ChannelUnavailable(f"{at(link.settings)}: {what} is gone; it is being made again")
