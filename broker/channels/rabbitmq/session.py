"""What is consumed over one connection: messages come in, acks go out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from broker.channels.rabbitmq.acks import Acks
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.settings import Settings
from broker.channels.trouble import Trouble
from broker.connections.rabbitmq.connecting import reported
from broker.connections.rabbitmq.incoming import at_once
from broker.errors import CemeshError, ChannelUnavailable

_PAUSE: Final = 0.5
_TRIES: Final = 5
_CLOSED_WITHIN: Final = 5.0
_FOR_EVER: Final = (1 << 31) - 1
"""Milliseconds after which a message must be acked; only later versions of RabbitMQ ask."""


@dataclass(eq=False, slots=True)
class Consumer:
    """One queue that messages come from, for a place."""

    place: Place
    queue: str
    prefetch: int
    received: int = 0
    unacked: int = 0
    in_doubt: deque[DeliveredMessage] = field(default_factory=deque)
    _drained_up_to: int = 0

    @property
    def is_drained(self) -> bool:
        """Whether all that was ever in the queue has been sent, to this consumer or to others.

        The queue was found empty, and what has come since was too little for the prefetch to keep
        anything back. It holds of what was in the queue before the last `Session.sync`, and not of
        a single active consumer, which may not be the active one.
        """
        return self.received < self._drained_up_to

    def found(self, left: int, unacked: int) -> None:
        """Note how many are left in the queue; at most ``unacked`` that have come were not acked.

        That is what was found when the last one came that has.
        """
        self.place.ready[self.queue] = left
        self._drained_up_to = 0 if left else self.received + self.prefetch - unacked

    def let_go(self) -> int:
        """Forget what is in doubt: it is the server's again. Return how many that were."""
        count = len(self.in_doubt)
        self.place.in_doubt -= count
        self.in_doubt.clear()
        return count


Take = Callable[["Session", Consumer, DeliveredMessage], None]
"""Take a message in. Must not wait, so that the order is kept."""


class Session:
    """What is consumed by one channel.

    A message that was delivered before, to whomever, is taken in once ``is_known`` has returned:
    then it is known whether it was settled. What comes from the same queue waits behind it.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        settings: Settings,
        *,
        take: Take,
        is_known: Callable[[], Awaitable[None]],
        on_gone: Callable[[Consumer], None],
        trouble: Trouble,
    ) -> None:
        self.consumers: dict[str, Consumer] = {}
        self._channel = channel
        self._settings = settings
        self._take = take
        self._is_known = is_known
        self._on_gone = on_gone
        self._trouble = trouble
        self._acks = Acks(channel, settings)
        self._doubt = asyncio.Event()
        self._consuming = asyncio.Lock()
        self._came_by: dict[int, Consumer] = {}  # what was not acked, by its tag

    @property
    def is_open(self) -> bool:
        """Whether what is received over it can still be acked."""
        return not self._channel.is_closed

    async def run(self) -> None:
        """Work until cancelled; raises `ChannelUnavailable` when the channel is lost."""
        self._channel.on_consumer_cancel_callbacks.add(self._cancelled)
        work = [asyncio.ensure_future(each) for each in (self._acks.run(), self._clear_doubts())]
        try:
            with reported(self._settings):
                done, _ = await asyncio.wait(
                    [*work, self._channel.closing], return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    each.result()
        finally:
            for each in work:
                each.cancel()
            await asyncio.wait(work)

    async def close(self) -> None:
        """End the channel: what was not acked is the server's again, in its order."""
        if self.is_open:
            with suppress(ChannelUnavailable), reported(self._settings):
                async with asyncio.timeout(_CLOSED_WITHIN):
                    await self._channel.close()

    async def consume(self, place: Place, queue: str, prefetch: int) -> None:
        """Let messages come, at most ``prefetch`` that are not acked.

        Raises `ChannelUnavailable`.
        """
        consumer = Consumer(place, queue, prefetch)
        async with self._consuming:
            self.consumers[queue] = consumer
            with reported(self._settings):
                await self._channel.basic_qos(prefetch_count=prefetch)
                await self._channel.basic_consume(
                    queue,
                    at_once(partial(self._receive, consumer)),
                    consumer_tag=queue,
                    # What waits in line or for its time may do so for long.
                    arguments={"x-consumer-timeout": _FOR_EVER},
                )

    async def stop(self, queue: str) -> None:
        """Let no more come. Returns once what was on its way has. Raises `ChannelUnavailable`."""
        consumer = self.consumers.get(queue)
        if consumer is None:
            return
        with reported(self._settings):
            await self._channel.basic_cancel(queue)
        del self.consumers[queue]
        self.give_back([tag_of(message) for message in consumer.in_doubt])
        consumer.let_go()

    def ack(self, tags: Sequence[int]) -> None:
        """Be done with these messages."""
        self._forget(tags)
        self._acks.ack(tags)

    def give_back(self, tags: Sequence[int]) -> None:
        """Let the server deliver these messages again, to anybody."""
        self._forget(tags)
        self._acks.give_back(tags)

    def _forget(self, tags: Sequence[int]) -> None:
        for tag in tags:
            consumer = self._came_by.pop(tag, None)
            if consumer is not None:
                consumer.unacked -= 1

    async def sync(self) -> None:
        """Return once the server has seen all acks, and what it had sent before has come.

        Raises `ChannelUnavailable`.
        """
        await self._acks.sync()

    async def count(self, consumer: Consumer) -> None:
        """Find out how many messages its queue has left, beside those that have come.

        Raises `ChannelUnavailable`.
        """
        for _ in range(_TRIES):
            received, unacked = consumer.received, consumer.unacked
            with reported(self._settings):
                found = await self._channel.queue_declare(consumer.queue, passive=True)
            await self.sync()
            left = found.message_count or 0
            if consumer.received == received:
                consumer.found(left, unacked)
                return
            consumer.place.ready[consumer.queue] = left

    # --- what comes in ---------------------------------------------------------------------

    def _receive(self, consumer: Consumer, message: DeliveredMessage) -> None:
        consumer.received += 1
        consumer.unacked += 1
        self._came_by[tag_of(message)] = consumer
        if self.consumers.get(consumer.queue) is not consumer:
            self.give_back([tag_of(message)])
        elif message.redelivered or consumer.in_doubt:
            consumer.in_doubt.append(message)
            consumer.place.in_doubt += 1
            self._doubt.set()
        else:
            self._take(self, consumer, message)

    async def _clear_doubts(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            doubtful = {each: len(each.in_doubt) for each in self.consumers.values()}
            try:
                await self._is_known()
            except CemeshError as error:
                self._trouble.met("cannot tell what was settled", error)
                self._doubt.set()
                await asyncio.sleep(_PAUSE)
                continue
            for consumer, count in doubtful.items():
                for _ in range(min(count, len(consumer.in_doubt))):
                    self._take_next(consumer)
                while consumer.in_doubt and not consumer.in_doubt[0].redelivered:
                    self._take_next(consumer)
                if consumer.in_doubt:
                    self._doubt.set()

    def _take_next(self, consumer: Consumer) -> None:
        consumer.place.in_doubt -= 1
        self._take(self, consumer, consumer.in_doubt.popleft())

    def _cancelled(self, frame: spec.Basic.Cancel) -> None:
        consumer = self.consumers.pop(str(frame.consumer_tag), None)
        if consumer is not None:
            self._came_by = {t: each for t, each in self._came_by.items() if each is not consumer}
            self._on_gone(consumer)


def tag_of(message: DeliveredMessage) -> int:
    """Return by what the message is acked."""
    tag = message.delivery_tag
    assert tag is not None  # noqa: S101 - only what was fetched by Basic.Get may have none
    return tag
