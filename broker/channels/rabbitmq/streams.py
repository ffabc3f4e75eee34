"""Streams: logs on RabbitMQ, whose entries anybody can read any number of times.

To AMQP 0-9-1 a stream is a queue whose consumers say where they begin, and who take nothing out by
an ack: it only lets the server deliver more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from broker.channels.rabbitmq.connecting import at, reported, said
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.settings import Settings
from broker.errors import ChannelUnavailable

PATIENCE: Final = timedelta(seconds=30)
"""How long the server may take to deliver what it is known to have."""

_AHEAD: Final = 500
"""Entries that the server delivers before it is told that the first ones were read."""

_EMPTY_AFTER: Final = timedelta(milliseconds=200)
_CLOSED_WITHIN: Final = 2.0
_OFFSET: Final = "x-stream-offset"

_log: Final = logging.getLogger("cemesh.channel")


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a stream. See `broker.channels.rabbitmq.foreign.Received`.

    No other entry of the stream has its offset, and later ones have higher offsets; not every
    offset has an entry.
    """

    offset: int
    body: bytes
    headers: Mapping[str, object]
    exchange: str | None
    routing_key: str | None
    properties: spec.Basic.Properties

    @property
    def stamp(self) -> str | None:
        """The message id, which is a stamp if one of the mesh's processes published it."""
        return self.properties.message_id

    @property
    def content_type(self) -> str | None:
        return self.properties.content_type

    @property
    def content_encoding(self) -> str | None:
        return self.properties.content_encoding

    @property
    def message_id(self) -> str | None:
        return self.properties.message_id

    @property
    def correlation_id(self) -> str | None:
        return self.properties.correlation_id

    @property
    def reply_to(self) -> str | None:
        return self.properties.reply_to

    @property
    def timestamp(self) -> datetime | None:
        return self.properties.timestamp

    @property
    def type(self) -> str | None:
        return self.properties.message_type

    @property
    def app_id(self) -> str | None:
        return self.properties.app_id


class Stream:
    """One stream, by a connection that others use, too. All methods raise `ChannelUnavailable`.

    On a cluster, what is read is what the server that this process is connected to has: that may
    lack what was confirmed within the last milliseconds if another one leads the stream.
    """

    def __init__(self, link: Link, name: str) -> None:
        self.name: Final = name
        self._link = link
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
            with reported(self._link.settings):
                try:
                    await channel.queue_declare(
                        self.name, durable=True, arguments={"x-queue-type": "stream", **arguments}
                    )
                except aiormq.ChannelPreconditionFailed as error:
                    if "'x-queue-type'" in str(error):
                        raise
                    why = said(error, self._link.settings)
                    extra = {"stream": self.name, "asked": arguments, "why": why}
                    _log.warning("stream has other limits", extra=extra)

    def appended(self) -> None:
        """Note that an entry was confirmed, so that the stream is not taken for an empty one."""
        self._is_filled = True

    async def end(self) -> int:
        """Return the offset behind the last entry, or 0 where there never was any.

        It is behind everything that was confirmed before. Takes 5 ms, and 0.2 s where the stream
        is empty: no server tells that it is, it just delivers nothing.
        """
        loop = asyncio.get_running_loop()
        async with self._channel() as channel:
            deliveries = _Deliveries(channel, self.name, self._link.settings)
            began = loop.time()
            await deliveries.begin("last")
            # A server that is slow to answer may also be slow to deliver.
            empty_after = max(_EMPTY_AFTER.total_seconds(), 10 * (loop.time() - began))
            try:
                async with asyncio.timeout(None if self._is_filled else empty_after):
                    last = await deliveries.next(PATIENCE)
            except TimeoutError:
                return 0
            self._is_filled = True
            while more := await deliveries.arrived():
                last = more[-1]
            return last.offset + 1

    async def read(self, start: int | datetime | None, end: int) -> AsyncGenerator[Entry]:
        """Yield the entries in [start, end), from the first that is kept; None: from the first.

        From a time on, that begins with the entries that were appended together with the first
        one of that second. ``end`` is one that `end` returned. Holds some hundred entries at a
        time; takes 0.15 ms of processor for each.
        """
        if end == 0:
            return
        begin = await self._offset_at(start) if isinstance(start, datetime) else start or 0
        if begin >= end:
            return
        async with self._delivered(begin) as deliveries:
            while begin < end:
                entry = await deliveries.next(PATIENCE)
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
            yield deliveries.on()

    async def _offset_at(self, time: datetime) -> int:
        """Return the offset of an entry before all that were appended at that time or later."""
        async with self._channel() as channel:
            deliveries = _Deliveries(channel, self.name, self._link.settings, ahead=1)
            await deliveries.begin(time)
            # The server, which may have nothing from then on, looks for both at once.
            await deliveries.begin("last")
            first = await deliveries.next(PATIENCE)
            return min(each.offset for each in [first, *await deliveries.arrived()])

    @asynccontextmanager
    async def _delivered(self, start: int | str) -> AsyncIterator[_Deliveries]:
        async with self._channel() as channel:
            deliveries = _Deliveries(channel, self.name, self._link.settings)
            await deliveries.begin(start)
            yield deliveries

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        channel = await self._link.open_channel()
        try:
            yield channel
        finally:
            with suppress(ChannelUnavailable), reported(self._link.settings):
                async with asyncio.timeout(_CLOSED_WITHIN):
                    await channel.close()


class _Deliveries:
    """What is delivered by one channel, in order."""

    def __init__(
        self, channel: AbstractChannel, stream: str, settings: Settings, *, ahead: int = _AHEAD
    ) -> None:
        self._channel = channel
        self._stream = stream
        self._settings = settings
        self._ahead = ahead
        self._arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        self._unacked = 0

    async def begin(self, offset: int | str | datetime) -> None:
        """Return once the server has found the place."""
        with reported(self._settings):
            await self._channel.basic_qos(prefetch_count=self._ahead)
            self._channel.closing.add_done_callback(self._end)
            self._channel.on_consumer_cancel_callbacks.add(self._end)
            await self._channel.basic_consume(self._stream, self._take, arguments={_OFFSET: offset})

    async def on(self) -> AsyncIterator[Entry]:
        while True:
            yield await self.next()

    async def next(self, within: timedelta | None = None) -> Entry:
        """Return the next entry.

        Raises `ChannelUnavailable` if there is none in time, or will be no more.
        """
        if self._arrived.empty():
            seconds = None if within is None else within.total_seconds()
            with reported(self._settings):
                async with asyncio.timeout(seconds):
                    message = await self._arrived.get()
        else:
            message = self._arrived.get_nowait()
        if message is None:
            self._arrived.put_nowait(None)
            raise ChannelUnavailable(self._why())
        self._unacked += 1
        tag = message.delivery_tag
        if tag is not None and 2 * self._unacked >= self._ahead:
            self._unacked = 0
            with reported(self._settings):
                await self._channel.basic_ack(tag, multiple=True, wait=False)
        return self._entry(message)

    async def arrived(self) -> list[Entry]:
        """Return what the server has delivered up to now."""
        with reported(self._settings):
            # Its answer comes behind all that it has delivered before.
            await self._channel.basic_qos(prefetch_count=self._ahead)
        return [await self.next() for _ in range(self._arrived.qsize())]

    async def _take(self, message: DeliveredMessage) -> None:
        self._arrived.put_nowait(message)

    def _end(self, _: object) -> None:
        self._arrived.put_nowait(None)

    def _why(self) -> str:
        closing = self._channel.closing
        error = closing.exception() if closing.done() and not closing.cancelled() else None
        if error is not None:
            return f"{at(self._settings)}: {said(error, self._settings)}"
        return f"{at(self._settings)} ended reading '{self._stream}': was the stream deleted?"

    def _entry(self, message: DeliveredMessage) -> Entry:
        properties = message.header.properties
        headers = dict(properties.headers or {})
        offset = headers.pop(_OFFSET, None)
        if not isinstance(offset, int):
            raise ChannelUnavailable(f"{at(self._settings)}: '{self._stream}' is no stream")
        return Entry(
            offset=offset,
            body=message.body,
            headers=headers,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties,
        )
