"""What a stream delivers to one of its readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from broker.channels.rabbitmq.settings import Settings
from broker.codecs.amqp import decode
from broker.codecs.notes import Notes
from broker.connections.rabbitmq.connecting import at, reported, said
from broker.connections.rabbitmq.incoming import at_once
from broker.errors import ChannelUnavailable
from broker.event import Event

AHEAD: Final = 500
"""Entries that the server delivers before it is told that the first ones were read."""

_OFFSET: Final = "x-stream-offset"


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

    def decode(self) -> tuple[Event, Notes]:
        """Return the event, and what is noted beside it; raises `InvalidEvent`."""
        return decode(
            self.headers,
            self.body,
            content_type=self.content_type,
            content_encoding=self.content_encoding,
        )

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


class Deliveries:
    """What is delivered by one channel, in order."""

    def __init__(
        self, channel: AbstractChannel, stream: str, settings: Settings, *, ahead: int = AHEAD
    ) -> None:
        self._channel = channel
        self._stream = stream
        self._settings = settings
        self._ahead = ahead
        self._arrived: deque[DeliveredMessage] = deque()
        self._is_over = False
        self._changed = asyncio.Event()
        self._unacked = 0
        self._last = 0  # the tag of what was read last

    async def begin(self, offset: int | str | datetime) -> None:
        """Return once the server has found the place."""
        with reported(self._settings):
            await self._channel.basic_qos(prefetch_count=self._ahead)
            self._channel.closing.add_done_callback(self._end)
            self._channel.on_consumer_cancel_callbacks.add(self._end)
            await self._channel.basic_consume(
                self._stream, at_once(self._take), arguments={_OFFSET: offset}
            )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        return await self.next()

    async def any(self, within: timedelta) -> bool:
        """Return whether there is an entry, as soon as there is one."""
        if not self._arrived:
            with suppress(TimeoutError):
                async with asyncio.timeout(within.total_seconds()):
                    await self._some()
        return bool(self._arrived)

    async def next(self) -> Entry:
        """Return the next entry; raise `ChannelUnavailable` if there will be none."""
        if not self._arrived:
            await self._some()
        message = self._arrived.popleft()
        self._unacked += 1
        self._last = message.delivery_tag or 0
        if 2 * self._unacked >= self._ahead:
            await self._ack()
        return self._entry(message)

    async def arrived(self) -> list[Entry]:
        """Return what the server has delivered up to now."""
        with reported(self._settings):
            # Its answer comes behind all that it has delivered before.
            await self._channel.basic_qos(prefetch_count=self._ahead)
        return [await self.next() for _ in range(len(self._arrived))]

    async def is_over(self) -> bool:
        """Return whether the server delivers no more by a channel that goes on.

        Waits until that is so, or there is an entry. Raises `ChannelUnavailable`.
        """
        while not (self._is_over or self._arrived):
            self._changed.clear()
            await self._changed.wait()
        if self._channel.closing.done():
            raise ChannelUnavailable(self._why())
        return self._is_over

    async def _ack(self) -> None:
        self._unacked = 0
        with reported(self._settings):
            await self._channel.basic_ack(self._last, multiple=True, wait=False)

    async def _some(self) -> None:
        if self._unacked and not self._is_over:  # or a quiet stream would reach consumer_timeout
            await self._ack()
        while not self._arrived:
            if self._is_over:
                raise ChannelUnavailable(self._why())
            self._changed.clear()
            await self._changed.wait()

    def _take(self, message: DeliveredMessage) -> None:
        self._arrived.append(message)
        self._changed.set()

    def _end(self, _: object) -> None:
        self._is_over = True
        self._changed.set()

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
