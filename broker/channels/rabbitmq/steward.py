"""Which process of a broker tells the books, and sums up the state: the steward."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final, Self

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, ArgumentsType

from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.stamps import Stamps
from broker.channels.trouble import Trouble
from broker.codecs.amqp import Message
from broker.connections.rabbitmq.connecting import reported
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable

_log: Final = logging.getLogger("cemesh.channel")

_TRIED_EVERY: Final = 1.0
_GIVEN_UP_WITHIN: Final = 2.0
_KEEPS_NOTHING: Final[ArgumentsType] = {"x-max-length": 0}
_NOTHING: Final = Message(body=b"", headers={}, content_type=None)


class Steward:
    """Whoever has a queue that only one connection can have, and that goes with it.

    Tried for at once when entered, then every second. The steward does its ``duty`` every second,
    which may raise a `CemeshError`.
    """

    def __init__(
        self,
        link: Link,
        publishing: Publishing,
        queue: str,
        stamps: Stamps,
        *,
        duty: Callable[[], Awaitable[None]],
    ) -> None:
        self._link = link
        self._publishing = publishing
        self._queue = queue
        self._stamps = stamps
        self._duty = duty
        self._channel: AbstractChannel | None = None
        self._declared_over: AbstractConnection | None = None
        self._turn = asyncio.Lock()
        self._trouble = Trouble(lambda: publishing.is_out)
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._running.push_async_callback(self._give_up)
        tasks = await self._running.enter_async_context(asyncio.TaskGroup())
        self._running.callback(tasks.create_task(self._link.keep(self._serve)).cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()  # the task group would wrap what was raised in the context

    @property
    def is_steward(self) -> bool:
        """Whether this process is it, as far as it knows.

        It is not as soon as its connection is lost. While one is silent, there can be two, for
        as long as it takes to be noticed here.
        """
        return self._channel is not None and not self._channel.is_closed

    async def asked(self) -> bool:
        """Try to be the steward, and return whether that is so. Raises `ChannelUnavailable`."""
        if not self.is_steward:
            try:
                await self._try()
            except ChannelFull:  # an alarm, during which nobody can ask in silence
                await self._try(asks=False)
        return self.is_steward

    async def _serve(self, _: AbstractConnection) -> None:
        while True:
            try:
                await self._try()
                if self.is_steward:
                    await self._duty()
            except CemeshError as error:
                self._trouble.met("steward held up", error, queue=self._queue)
            await asyncio.sleep(_TRIED_EVERY)

    async def _try(self, *, asks: bool = True) -> None:
        async with self._turn:
            over = self._declared_over
            may_be_ours = over is not None and not over.is_closed
            if asks and not may_be_ours and not await self._is_free():
                return
            channel = self._channel
            if channel is None or channel.is_closed:
                channel = await self._link.open_channel()
            await self._declare(channel)

    async def _is_free(self) -> bool:
        """Return whether nobody has the queue, by a message to it, which is not kept.

        To declare it would tell, too, but with an error in the log of the server every time.
        """
        probe = Outgoing(message=_NOTHING, stamp=self._stamps.new(), routing_key=self._queue)
        return bool(await self._publishing.publish([probe]))

    async def _declare(self, channel: AbstractChannel) -> None:
        was_steward = self.is_steward
        self._declared_over = channel.connection  # also if this is cancelled
        try:
            with reported(self._link.settings):
                await channel.queue_declare(self._queue, exclusive=True, arguments=_KEEPS_NOTHING)
        except ChannelUnavailable as error:
            if not isinstance(error.__cause__, aiormq.ChannelLockedResource):
                raise
            self._declared_over = None
            return
        self._channel = channel
        if not was_steward:
            _log.info("steward", extra={"queue": self._queue})

    async def _give_up(self) -> None:
        """Let others have the queue, while the connection goes on."""
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            with suppress(ChannelUnavailable), reported(self._link.settings):
                async with asyncio.timeout(_GIVEN_UP_WITHIN):
                    await channel.queue_delete(self._queue)
                    await channel.close()
