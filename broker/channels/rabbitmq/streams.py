"""Streams: logs on RabbitMQ, whose entries anybody can read any number of times.

To AMQP 0-9-1 a stream is a queue whose consumers say where they begin, and who take nothing out by
an ack: it only lets the server deliver more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, NoReturn

import aiormq
from aiormq.abc import AbstractChannel

from broker.channels.rabbitmq.deliveries import AHEAD, Deliveries, Entry
from broker.channels.rabbitmq.link import Link
from broker.connections.rabbitmq.connecting import at, reported
from broker.errors import ChannelUnavailable

__all__ = ["Entry", "Stream"]

PATIENCE: Final = timedelta(seconds=30)
"""How long the server may take to deliver what it is known to have."""

_EMPTY_AFTER: Final = timedelta(milliseconds=200)
_SLOWER: Final = 10
_FILLED_AFTER: Final = timedelta(seconds=5)
_READ_EVERY: Final = 1.0
_CLOSED_WITHIN: Final = 2.0

_log: Final = logging.getLogger("cemesh.channel")


class Stream:
    """One stream, by a connection that others use, too. All methods raise `ChannelUnavailable`.

    On a cluster, what is read is what the server that this process is connected to has. If another
    one leads the stream, that may lack what was confirmed within the last milliseconds; and right
    after a leader was elected, a stream may seem empty to who has seen no entry of it yet.
    """

    def __init__(self, link: Link, name: str) -> None:
        self.link: Final = link
        self.name: Final = name
        self._is_filled = False

    async def declare(
        self,
        *,
        max_age: timedelta | None = None,
        max_bytes: int | None = None,
        segment_bytes: int | None = None,
    ) -> None:
        """Make the stream, unless it is there.

        One that is there with other limits is used as it is, with a warning that says which: a
        policy can change them. What is older than ``max_age``, or beyond ``max_bytes``, goes by
        whole segments of ``segment_bytes``.
        """
        given = {
            "x-max-age": None if max_age is None else f"{round(max_age.total_seconds())}s",
            "x-max-length-bytes": max_bytes,
            "x-stream-max-segment-size-bytes": segment_bytes,
        }
        arguments = {name: value for name, value in given.items() if value is not None}
        async with self._channel() as channel:
            try:
                with reported(self.link.settings):
                    await channel.queue_declare(
                        self.name, durable=True, arguments={"x-queue-type": "stream", **arguments}
                    )
            except ChannelUnavailable as error:
                if not isinstance(error.__cause__, aiormq.ChannelPreconditionFailed):
                    raise
                async with self._delivered("next"):  # unless it is no stream
                    extra = {"stream": self.name, "asked": arguments, "why": str(error)}
                    _log.warning("stream has other limits", extra=extra)

    def appended(self) -> None:
        """Note that an entry was confirmed, so that the stream is not taken for an empty one."""
        self._is_filled = True

    async def end(self) -> int:
        """Return the offset behind the last entry, or 0 where there never was any.

        It is behind everything that was confirmed before, and higher than the number of entries
        by about one for each segment. Takes 5 ms, and 0.2 s where the stream is empty: no server
        tells that it is, it just delivers nothing.
        """
        last = await self.last()
        return 0 if last is None else last.offset + 1

    async def last(self) -> Entry | None:
        """Return the last entry, or None where there never was any; takes as long as `end`."""
        async with self._channel() as channel:
            deliveries = Deliveries(channel, self.name, self.link.settings)
            if not await self._is_delivered(channel, deliveries):
                self._is_filled = False
                return None
            self._is_filled = True
            last = await deliveries.next()
            while more := await deliveries.arrived():
                last = max(last, *more, key=lambda each: each.offset)
            return last

    async def read(self, start: int | datetime | None, end: int) -> AsyncGenerator[Entry]:
        """Yield the entries in [start, end), from the first that is kept; None: from the first.

        From a time on, that begins with the entries that were appended together with the first
        one of that second. ``end`` is one that `end` returned. Holds some hundred entries at a
        time; takes 0.06 ms of processor for each.
        """
        if end == 0:
            return
        begin = await self._offset_at(start) if isinstance(start, datetime) else start or 0
        if begin >= end:
            return
        async with self._delivered(begin, ahead=min(AHEAD, end - begin)) as deliveries:
            while begin < end:
                if not await deliveries.any(PATIENCE):
                    self._missing()
                entry = await deliveries.next()
                begin = entry.offset + 1
                if begin <= end:
                    yield entry

    @asynccontextmanager
    async def follow(self, start: int | None) -> AsyncIterator[AsyncIterator[Entry]]:
        """Yield the entries from this offset on; None: those that are appended from now on.

        Entered once the server has found the place. Goes on until it is left, or raises
        `ChannelUnavailable` when the connection or the stream is gone.
        """
        async with self._delivered("next" if start is None else start) as deliveries:
            yield deliveries

    async def ended(self) -> None:
        """Return when the server ends reading from the stream, as it does when it is deleted.

        Hardly anything is read meanwhile: an entry a second. A connection that is lost raises.
        """
        while True:
            # An entry that came stays unacked, so that no other does; but not for long, as there
            # is the server's consumer_timeout.
            async with self._delivered("next", ahead=1) as deliveries:
                if await deliveries.is_over():
                    return
            await asyncio.sleep(_READ_EVERY)

    async def _is_delivered(self, channel: AbstractChannel, deliveries: Deliveries) -> bool:
        """Begin with the last entries, and return whether there are any."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await deliveries.begin("last")
        # A server that is slow to answer may also be slow to deliver.
        empty_after = max(_EMPTY_AFTER, _SLOWER * timedelta(seconds=loop.time() - began))
        if await deliveries.any(_FILLED_AFTER if self._is_filled else empty_after):
            return True
        # The stream owes the first consumer an answer before this one; and whatever the server is
        # asked after that, it answers behind what it has to deliver.
        await deliveries.begin("next")
        with reported(self.link.settings):
            declared = await channel.queue_declare(self.name, passive=True)
        if await deliveries.any(timedelta()):
            return True
        if not declared.message_count:  # which is known 5 s late, so that it alone says nothing
            return False
        return await deliveries.any(PATIENCE) or self._missing()

    def _missing(self) -> NoReturn:
        raise ChannelUnavailable(
            f"{at(self.link.settings)} does not deliver what is in the stream '{self.name}'"
        )

    async def _offset_at(self, time: datetime) -> int:
        """Return the offset of an entry before all that were appended at that time or later."""
        async with self._channel() as channel:
            deliveries = Deliveries(channel, self.name, self.link.settings, ahead=1)
            await deliveries.begin(time)
            # The server, which may have nothing from then on, looks for both at once.
            await deliveries.begin("last")
            if not await deliveries.any(PATIENCE):
                self._missing()
            first = await deliveries.next()
            return min(each.offset for each in [first, *await deliveries.arrived()])

    @asynccontextmanager
    async def _delivered(
        self, start: int | str, *, ahead: int = AHEAD
    ) -> AsyncIterator[Deliveries]:
        async with self._channel() as channel:
            deliveries = Deliveries(channel, self.name, self.link.settings, ahead=ahead)
            await deliveries.begin(start)
            yield deliveries

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        channel = await self.link.open_channel()
        try:
            yield channel
        finally:
            with suppress(ChannelUnavailable), reported(self.link.settings):
                async with asyncio.timeout(_CLOSED_WITHIN):
                    await channel.close()
