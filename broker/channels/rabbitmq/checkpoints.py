"""How far the sources of a broker have come: a short stream for each, whose last entry counts.

Reading takes nothing out of a stream, so any number of processes may ask at once, and none finds
nothing because another one has it in hand, as it would be with a queue. What is behind the last
entries is of no use to anybody, and the server removes it: a stream takes 5 MiB at most.

What the server that a process is connected to has of a stream may lag behind the one that leads
it. So whoever asks writes down what it has found, and reads on until it sees that again: before
that is everything that was confirmed before it asked. As that repeats the place, asking alone
can never push a place out of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from datetime import timedelta
from itertools import count
from typing import Final

import msgspec

from broker.channels.rabbitmq.entries import UNREADABLE
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.names import source_name
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.stamps import Stamps
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.channels.rabbitmq.topology import is_gone, unusable
from broker.codecs.amqp import Message
from broker.connections.rabbitmq.connecting import at
from broker.errors import ChannelFull, ChannelUnavailable

_STREAM_BYTES: Final = 4 << 20
_SEGMENT_BYTES: Final = 1 << 20
_BEFORE: Final = 50
"""Entries before the last that are looked at, too: see `_Newest`."""

_PATIENCE: Final = timedelta(seconds=10)

_log: Final = logging.getLogger("cemesh.channel")


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """One entry: which place a process put, as which of all that it put.

    Or, where it has ``through``, that one who asked has found this to hold as of that offset. None
    has been put where ``place`` is None.
    """

    place: bytes | None = None
    process: str = ""
    number: int = 0
    through: int | None = None

    def is_older_than(self, other: _Told | None) -> bool:
        """Return whether the same process has put the other one later."""
        return other is not None and self.process == other.process and self.number < other.number


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Told)


class RabbitmqCheckpoints:
    """See `broker.ports.Checkpoints`."""

    def __init__(self, link: Link, publishing: Publishing, broker: str, stamps: Stamps) -> None:
        self._link = link
        self._publishing = publishing
        self._broker = broker
        self._stamps = stamps
        self._numbers = count(1)
        self._streams: dict[str, Stream] = {}

    async def get(self, source: str) -> bytes | None:
        """Return what was put last. Takes some 60 ms, where `put` takes one."""
        stream = self._stream(source)
        try:
            last = await stream.last()
            newest = _Newest() if last is None else await _newest(stream, last)
        except ChannelUnavailable as error:
            if is_gone(error):
                return None
            raise
        through = -1 if last is None else last.offset
        found = msgspec.structs.replace(newest.told or _Told(), through=through)
        stamp = self._stamps.new()
        try:
            if not await self._publish(stream, found, stamp):
                raise unusable(self._link, f"'{stream.name}'")
        except ChannelFull as error:
            raise ChannelUnavailable(str(error)) from error
        await self._read_up_to(stamp, stream, max(0, through), newest)
        return None if newest.told is None else newest.told.place

    async def put(self, source: str, place: bytes) -> None:
        stream = self._stream(source)
        told = _Told(place=place, process=self._stamps.process, number=next(self._numbers))
        if await self._publish(stream, told, self._stamps.new()):
            return
        await stream.declare(max_bytes=_STREAM_BYTES, segment_bytes=_SEGMENT_BYTES)
        if not await self._publish(stream, told, self._stamps.new()):
            raise unusable(self._link, f"'{stream.name}'")

    def _stream(self, source: str) -> Stream:
        if source not in self._streams:
            name = source_name(self._broker, "checkpoint", source)
            self._streams[source] = Stream(self._link, name)
        return self._streams[source]

    async def _publish(self, stream: Stream, told: _Told, stamp: str) -> bool:
        """Return whether the stream, which may not be there, has it. Raises as publishing does."""
        message = Message(body=_encoder.encode(told), headers={}, content_type=None)
        outgoing = Outgoing(message=message, stamp=stamp, routing_key=stream.name)
        if await self._publishing.publish([outgoing]):
            return False
        stream.appended()
        return True

    async def _read_up_to(self, stamp: str, stream: Stream, start: int, newest: _Newest) -> None:
        """Take into account what there is from this offset up to the entry with the stamp."""
        try:
            async with (
                asyncio.timeout(_PATIENCE.total_seconds()),
                stream.follow(start) as entries,
            ):
                async for entry in entries:
                    newest.take(entry)
                    if entry.stamp == stamp:
                        return
        except TimeoutError:
            raise ChannelUnavailable(
                f"{at(self._link.settings)}: what was written to the stream '{stream.name}' cannot "
                "be read"
            ) from None


class _Newest:
    """What was put last, as far as entries have been taken, in their order.

    What a process had sent by a connection that was lost may be stored yet, behind what it has put
    by the next one, and is passed over: which is known where both are among what is read.
    """

    def __init__(self) -> None:
        self.told: _Told | None = None
        self._at = -1

    def take(self, entry: Entry) -> None:
        told = _decoded(entry)
        if told is None:
            _log.warning("checkpoint not readable", extra={"offset": entry.offset})
        elif told.through is not None:
            if self._at <= told.through:
                self.told, self._at = told, told.through
        elif not told.is_older_than(self.told):
            self.told, self._at = told, entry.offset


async def _newest(stream: Stream, last: Entry) -> _Newest:
    """Return what was put last according to the entries up to the one that is given."""
    told = _decoded(last)
    known = last.offset if told is None or told.through is None else told.through
    newest = await _between(stream, max(0, known - _BEFORE), last.offset + 1)
    if newest.told is None:  # others have written a lot
        newest = await _between(stream, 0, last.offset + 1)
    return newest


async def _between(stream: Stream, start: int, end: int) -> _Newest:
    newest = _Newest()
    async with aclosing(stream.read(start, end)) as entries:
        async for entry in entries:
            newest.take(entry)
    return newest


def _decoded(entry: Entry) -> _Told | None:
    """Return what the entry tells, or None where others wrote it."""
    try:
        told = _decoder.decode(entry.body)
    except UNREADABLE:
        return None
    return told if told.place is not None or told.through is not None else None
