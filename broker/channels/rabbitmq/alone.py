"""Work that one process does at a time: whoever has a queue that goes with its connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Final

import aiormq
from aiormq.abc import ArgumentsType

from broker.channels.rabbitmq.names import source_name
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.settings import Settings
from broker.channels.rabbitmq.stamps import Stamps
from broker.codecs.amqp import Message
from broker.connections.rabbitmq.connecting import at, close, connect, reported, said
from broker.connections.rabbitmq.connection import Connection
from broker.errors import ChannelFull, ChannelUnavailable

_HEARTBEAT: Final = timedelta(seconds=8)
"""So a silent connection is given up here after 9 to 13 s, and by the server after 16 to 24."""

_TRIED_EVERY: Final = 1.0
_LOCKED_WITHIN: Final = 10.0
_CANCELLED_EVERY: Final = 5.0
_KEEPS_NOTHING: Final[ArgumentsType] = {"x-max-length": 0}
_NOTHING: Final = Message(body=b"", headers={}, content_type=None)

_log: Final = logging.getLogger("cemesh.channel")

Work = Callable[[], Awaitable[None]]


class Alone:
    """See `broker.ports.Channel.alone`.

    Whoever works has a connection for that alone: to close it lets others have the queue, whatever
    was under way, and nothing else has to be noticed as early.
    """

    def __init__(
        self, settings: Settings, broker: str, publishing: Publishing, stamps: Stamps
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._publishing = publishing
        self._stamps = stamps

    async def do(self, name: str, work: Work) -> None:
        queue = source_name(self._broker, "alone", name)
        while not (  # noqa: ASYNC110 - RabbitMQ tells nobody that a queue is free again
            await self._is_free(queue) and await self._has_done(name, queue, work)
        ):
            await asyncio.sleep(_TRIED_EVERY)

    async def _is_free(self, queue: str) -> bool:
        """Return whether nobody has the queue, by a message to it, which is not kept.

        To declare it would tell, too, but with an error in the log of the server every time.
        """
        probe = Outgoing(message=_NOTHING, stamp=self._stamps.new(), routing_key=queue)
        try:
            return bool(await self._publishing.publish([probe]))
        except ChannelFull:  # an alarm, during which nobody can ask in silence
            return True

    async def _has_done(self, name: str, queue: str, work: Work) -> bool:
        """Do the work, unless somebody else has the queue; return whether it was done."""
        connection = await connect(self._settings, name, heartbeat=_HEARTBEAT)
        try:
            lost = await self._taken(connection, queue)
            if lost is None:
                return False
            _log.info("alone", extra={"work": name, "queue": queue})
            await self._do(name, lost, work)
            return True
        finally:
            await _through(close(connection))

    async def _taken(self, connection: Connection, queue: str) -> asyncio.Future[None] | None:
        """Have the queue, and return what ends with the connection; None: another one has it."""
        try:
            with reported(self._settings):
                async with asyncio.timeout(_LOCKED_WITHIN):
                    channel = await connection.channel(publisher_confirms=False)
                    await channel.queue_declare(queue, exclusive=True, arguments=_KEEPS_NOTHING)
        except ChannelUnavailable as error:
            if isinstance(error.__cause__, aiormq.ChannelLockedResource):
                return None
            raise
        return channel.closing

    async def _do(self, name: str, lost: asyncio.Future[None], work: Work) -> None:
        doing = asyncio.ensure_future(work())
        try:
            await asyncio.wait({doing, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _through(_end(doing))
        if not doing.cancelled():
            doing.result()
            return
        raise ChannelUnavailable(
            f"{at(self._settings)}: {self._why(lost)}; so it is not known any more whether "
            f"'{name}' runs here alone, and it was stopped until that is known again"
        )

    def _why(self, lost: asyncio.Future[None]) -> str:
        error = lost.exception() if lost.done() and not lost.cancelled() else None
        # Also where aiormq has cancelled the work, as it waited for a channel that has ended.
        return "a channel is lost" if error is None else said(error, self._settings)


async def _end(doing: asyncio.Future[None]) -> None:
    """Cancel the work, and return once it has ended."""
    while not doing.done():
        # Again and again, as `wait_for`, up to Python 3.11, may lose a cancellation.
        doing.cancel()
        await asyncio.wait({doing}, timeout=_CANCELLED_EVERY)


async def _through(last: Coroutine[None, None, None]) -> None:
    """Do what is to be done last, however often the caller is cancelled meanwhile."""
    doing = asyncio.ensure_future(last)
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait({doing})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    doing.result()
