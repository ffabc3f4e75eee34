"""What a queue delivers: taken in the order in which it comes, and acknowledged together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from broker.connections.rabbitmq.connecting import at, reported, said
from broker.connections.rabbitmq.incoming import at_once
from broker.connections.rabbitmq.server import Server
from broker.errors import ChannelUnavailable

_OFFSET: Final = "x-stream-offset"
_ANSWERED_WITHIN: Final = 10.0


@asynccontextmanager
async def answered(server: Server) -> AsyncIterator[None]:
    """Raise `ChannelUnavailable` for any error inside, and where there is no answer for too long.

    As with a queue whose leader is not up yet, while the connection is well.
    """
    with reported(server):
        async with asyncio.timeout(_ANSWERED_WITHIN):
            yield


class Deliveries:
    """The messages of a queue, no more than ``at_most`` of them before they are acknowledged.

    Every method raises `ChannelUnavailable` once there will be no more of them.
    """

    def __init__(
        self, channel: AbstractChannel, queue: str, server: Server, *, at_most: int
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._server = server
        self._at_most = at_most
        self._arrived: list[DeliveredMessage] = []
        self._unacknowledged = 0
        self._changed = asyncio.Event()
        self._is_over = False

    @property
    def in_hand(self) -> int:
        """How many messages have been delivered and not been acknowledged."""
        return self._unacknowledged

    async def begin(self) -> None:
        """Return once the server delivers."""
        self._channel.closing.add_done_callback(self._end)
        self._channel.on_consumer_cancel_callbacks.add(self._end)
        async with answered(self._server):
            await self._channel.basic_qos(prefetch_count=self._at_most)
            await self._channel.basic_consume(self._queue, at_once(self._take))

    async def next(self) -> Sequence[DeliveredMessage]:
        """Return all that has arrived, as soon as there is anything."""
        while not self._arrived:
            self.check()
            self._changed.clear()
            await self._changed.wait()
        arrived, self._arrived = self._arrived, []
        return arrived

    async def acknowledge(self, messages: Sequence[DeliveredMessage]) -> None:
        """Tell the server to keep these no longer, and none that came before them."""
        self.check()
        with reported(self._server):
            await self._channel.basic_ack(messages[-1].delivery_tag or 0, multiple=True)
        self._unacknowledged -= len(messages)

    def check(self) -> None:
        """Raise `ChannelUnavailable` where there will be no more messages."""
        if self._is_over:
            raise ChannelUnavailable(self._why())

    def _take(self, message: DeliveredMessage) -> None:
        self._unacknowledged += 1
        self._arrived.append(message)
        self._changed.set()

    def _end(self, _: object) -> None:
        self._is_over = True
        self._changed.set()

    def _why(self) -> str:
        closing = self._channel.closing
        error = closing.exception() if closing.done() and not closing.cancelled() else None
        if error is not None:
            return f"{at(self._server)}: {said(error, self._server)}"
        if closing.done():
            return f"{at(self._server)}: the connection is lost"
        return f"{at(self._server)} delivers no more of the queue '{self._queue}'; was it deleted?"


def is_of_a_stream(message: DeliveredMessage) -> bool:
    return _OFFSET in (message.header.properties.headers or {})
