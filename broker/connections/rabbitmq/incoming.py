"""Frames as the server sends them, decoded whatever others have put into messages.

Anybody may publish text that is no UTF-8, or a time after the year 9999. aiormq would end the
connection for it, and the next one as well, as the message is still there. What a message comes
in is decoded here, and handed to whoever takes it `at_once`; everything else aiormq decodes, or
hands out, itself. It has two queues and a task for each message, which take some 70 µs of
processor: as much as all else that is done from there until it is settled.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any, Final

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, ConsumerCallback, DeliveredMessage
from aiormq.connection import FrameReceiver, ReceivedFrame
from pamqp import constants, decode, frame
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

Receive = Callable[[DeliveredMessage], None]
"""Takes a message. Must neither wait nor raise."""

_Decoder = Callable[[bytes, int], tuple[Any, int]]
"""Returns what is in the bytes from this place on, and the place behind it."""

_FRAME: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQH")
_TAG: Final = struct.Struct(">Q?")
_LENGTH: Final = struct.Struct(">I")
_LONG: Final = struct.Struct(">q")
_DELIVER: Final = _LENGTH.pack(spec.Basic.Deliver.index)
_TEXT_VALUE: Final = ord("S")
_DEEPEST: Final = 100
"""Tables within each other in a header; any deeper ones are left out, lest the stack end."""

_AT_A_TIME: Final = 1 << 18
"""Bytes that are taken from the network; as a rule there are fewer."""

_HEARTBEAT: Final = (0, 0, Heartbeat())
"""What aiormq takes as a sign of life; it makes nothing else of it."""

_log: Final = logging.getLogger("cemesh.channel")


def at_once(receive: Receive) -> ConsumerCallback:
    """Return what `basic_consume` takes for messages to be received as they are read.

    So they come before what aiormq makes of the frames in front of them.
    """

    @wraps(receive)
    async def received(message: DeliveredMessage) -> None:
        receive(message)

    return received


class Incoming(FrameReceiver):
    """Reads frames as aiormq does, but for messages that are received `at_once`.

    ``channels`` are those of the connection, by their numbers, as they come and go.
    """

    def __init__(
        self, reader: asyncio.StreamReader, channels: Mapping[int, AbstractChannel | None]
    ) -> None:
        super().__init__(reader)
        self._channels = channels
        self._begun: dict[int, _Begun] = {}
        self._data = b""
        self._at = 0

    async def get_frame(self) -> ReceivedFrame:
        """Return the next frame. Raises `AMQPError` where there is none that can be decoded.

        Of a message, text that is no UTF-8 has lone surrogates in what tells where it is from and
        the type and encoding of its content, and in the names of headers. Other properties
        that are none are left out, and so is a time out of range; in a header, that is a number.
        For all that was received at once together there is a heartbeat: while it sends messages,
        a server sends none.
        """
        if self._at == len(self._data) and self.reader.at_eof():
            raise StopAsyncIteration
        was_received = False
        while True:
            needed = self._size()
            if len(self._data) - self._at < needed:
                if was_received:
                    return _HEARTBEAT
                await self._wait_for(needed)
                continue
            try:
                found = self._next(needed)
            except (PAMQPException, ValueError, LookupError, struct.error) as error:
                raise aiormq.exceptions.InvalidFrameError(str(error)) from error
            if found is not None:
                return found
            was_received = True

    # --- frames ----------------------------------------------------------------------------

    def _size(self) -> int:
        """Return how many bytes the next frame has, or at least."""
        if len(self._data) - self._at < _FRAME.size:
            return _FRAME.size
        _, _, size = _FRAME.unpack_from(self._data, self._at)
        return _FRAME.size + int(size) + 1

    async def _wait_for(self, needed: int) -> None:
        """Return once so many bytes have come."""
        parts = [self._data[self._at :]]
        missing = needed - len(parts[0])
        while missing > 0:
            try:
                part = await self.reader.read(_AT_A_TIME)
            except OSError as error:
                raise aiormq.AMQPConnectionError(*error.args) from error
            if not part:
                raise aiormq.AMQPConnectionError("it ended the connection without a word")
            parts.append(part)
            missing -= len(part)
        self._data, self._at = b"".join(parts), 0

    def _next(self, size: int) -> ReceivedFrame | None:
        """Return the next frame, or None if it is of a message that is received at once."""
        data, at = self._data, self._at
        end = self._at = at + size
        kind, number, _ = _FRAME.unpack_from(data, at)
        if number in self._begun:
            self._go_on(number, kind, _payload(data, at, end))
            return None
        if kind == constants.FRAME_HEADER:
            return size, number, _header(_payload(data, at, end))
        if kind == constants.FRAME_METHOD and data.startswith(_DELIVER, at + _FRAME.size):
            delivery = _deliver(_payload(data, at, end))
            channel = self._channels.get(number)
            if isinstance(channel, aiormq.Channel):
                receive = _receiver(channel, delivery)
                if receive is not None:
                    self._begun[number] = _Begun(channel, receive, delivery)
                    return None
            return size, number, delivery
        return frame.unmarshal(data[at:end])

    # --- messages that are received at once ------------------------------------------------

    def _go_on(self, number: int, kind: int, payload: bytes) -> None:
        begun = self._begun[number]
        if kind == constants.FRAME_HEADER and begun.header is None:
            begun.header = _header(payload)
            begun.missing = begun.header.body_size
        elif kind == constants.FRAME_BODY and begun.header is not None:
            begun.parts.append(payload)
            begun.missing -= len(payload)
        else:
            raise ValueError(f"a frame of type {kind} comes within a message")
        if begun.missing > 0:
            return
        del self._begun[number]
        if begun.channel.is_closed:  # so the message is the server's again
            return
        body = begun.parts[0] if len(begun.parts) == 1 else b"".join(begun.parts)
        message = DeliveredMessage(begun.delivery, begun.header, body, begun.channel)
        try:
            begun.receive(message)
        except Exception:  # noqa: BLE001 - its fault must not end the connection of all others
            _log.exception("message not received", extra={"queue": begun.delivery.consumer_tag})


class _Begun:
    """A message of which not all frames have come."""

    __slots__ = ("channel", "delivery", "header", "missing", "parts", "receive")

    def __init__(
        self, channel: AbstractChannel, receive: Receive, delivery: spec.Basic.Deliver
    ) -> None:
        self.channel = channel
        self.receive = receive
        self.delivery = delivery
        self.header: ContentHeader | None = None
        self.parts: list[bytes] = []
        self.missing = 0


def _receiver(channel: aiormq.Channel, delivery: spec.Basic.Deliver) -> Receive | None:
    """Return what receives the message at once, if it is to be."""
    consumer = channel.consumers.get(delivery.consumer_tag or "")
    found: Receive | None = getattr(consumer, "__wrapped__", None)  # as `wraps` leaves it
    return found


def _payload(data: bytes, at: int, end: int) -> bytes:
    if data[end - 1] != constants.FRAME_END:
        raise ValueError(f"a frame ends with the octet {data[end - 1]:#04x}")
    return data[at + _FRAME.size : end - 1]


def _deliver(data: bytes) -> spec.Basic.Deliver:
    deliver = spec.Basic.Deliver()
    deliver.consumer_tag, at = _told_text(data, len(_DELIVER))
    deliver.delivery_tag, deliver.redelivered = _TAG.unpack_from(data, at)
    deliver.exchange, at = _told_text(data, at + _TAG.size)
    deliver.routing_key, _ = _told_text(data, at)
    return deliver


def _header(data: bytes) -> ContentHeader:
    header = ContentHeader()
    header.class_id, header.weight, header.body_size, flags = _CONTENT.unpack_from(data)
    at = _CONTENT.size
    for flag, name, decoder in _PROPERTIES:
        if flags & flag:
            value, at = decoder(data, at)
            setattr(header.properties, name, value)
    return header


def _told_text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="surrogateescape"), end


def _text(data: bytes, at: int) -> tuple[str | None, int]:
    end = at + 1 + data[at]
    try:
        return data[at + 1 : end].decode(), end
    except UnicodeDecodeError:
        return None, end


def _octet(data: bytes, at: int) -> tuple[int, int]:
    return data[at], at + 1


def _time(data: bytes, at: int) -> tuple[Any, int]:
    value, end = _time_value(data, at)
    return None if isinstance(value, int) else value, end


def _time_value(data: bytes, at: int) -> tuple[Any, int]:
    try:
        return decode.timestamp(data[at : at + 8])[1], at + 8
    except ValueError:
        return _LONG.unpack_from(data, at)[0], at + 8


def _table(data: bytes, at: int, depth: int = 0) -> tuple[dict[str, Any], int]:
    table: dict[str, Any] = {}
    end, at = _extent(data, at)
    while at < end:
        start = at + 1
        at = start + data[at]
        name = _name(data[start:at])
        if data[at] == _TEXT_VALUE:  # as almost all are
            (size,) = _LENGTH.unpack_from(data, at + 1)
            start, at = at + 5, at + 5 + size
            text = data[start:at]
            try:
                table[name] = text.decode()
            except UnicodeDecodeError:
                table[name] = text
        else:
            table[name], at = _value(data, at, depth)
    return table, end


@lru_cache(maxsize=1024)
def _name(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _array(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    array: list[Any] = []
    end, at = _extent(data, at)
    while at < end:
        value, at = _value(data, at, depth)
        array.append(value)
    return array, end


def _extent(data: bytes, at: int) -> tuple[int, int]:
    """Return where a table or an array ends, and where what is in it begins."""
    (length,) = _LENGTH.unpack_from(data, at)
    start = at + _LENGTH.size
    return start + length, start


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    at += 1
    if kind == b"T":
        return _time_value(data, at)
    if kind not in _NESTED:
        used, value = decode.TABLE_MAPPING[kind](data[at:])
        return value, at + used
    if depth == _DEEPEST:
        return None, _extent(data, at)[0]
    return _NESTED[kind](data, at, depth + 1)


_NESTED: Final[Mapping[bytes, Callable[[bytes, int, int], tuple[Any, int]]]] = {
    b"A": _array,
    b"F": _table,
}
_DECODERS: Final[Mapping[str, _Decoder]] = {
    "content_type": _told_text,
    "content_encoding": _told_text,
    "headers": _table,
    "delivery_mode": _octet,
    "priority": _octet,
    "timestamp": _time,
}
_PROPERTIES: Final = tuple(
    (spec.Basic.Properties.flags[name], name, _DECODERS.get(name, _text))
    for name in spec.Basic.Properties.attributes()
)
