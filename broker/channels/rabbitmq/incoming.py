"""Frames as the server sends them, decoded whatever others have put into messages.

Anybody may publish text that is no UTF-8, or a time after the year 9999. aiormq would end the
connection for it, and the next one as well, as the message is still there. What a message comes
in is decoded here, in half of the time that aiormq takes; everything else it decodes itself.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiormq
from aiormq import spec
from aiormq.connection import FrameReceiver, ReceivedFrame
from pamqp import constants, decode, frame
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

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


class Incoming(FrameReceiver):
    """Reads frames as aiormq does."""

    async def get_frame(self) -> ReceivedFrame:
        """Return the next frame. Raises `AMQPError` where there is none that can be decoded.

        Of a message, text that is no UTF-8 has lone surrogates in what tells where it is from and
        the type and encoding of its content, and in the names of headers. Other properties
        that are none are left out, and so is a time out of range; in a header, that is a number.
        """
        if self.reader.at_eof():
            raise StopAsyncIteration
        try:
            head = await self.reader.readexactly(_FRAME.size)
            kind, channel, size = _FRAME.unpack(head)
            rest = await self.reader.readexactly(size + 1)
        except asyncio.IncompleteReadError as error:
            raise aiormq.AMQPConnectionError("it ended the connection without a word") from error
        except OSError as error:
            raise aiormq.AMQPConnectionError(*error.args) from error
        length = len(head) + len(rest)
        try:
            if kind == constants.FRAME_HEADER:
                return length, channel, _header(rest)
            if kind == constants.FRAME_METHOD and rest.startswith(_DELIVER):
                return length, channel, _deliver(rest)
            return frame.unmarshal(head + rest)
        except (PAMQPException, ValueError, LookupError, struct.error) as error:
            raise aiormq.exceptions.InvalidFrameError(str(error)) from error


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
        name, at = _told_text(data, at)
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
