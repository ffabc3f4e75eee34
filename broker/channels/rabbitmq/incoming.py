"""Frames as the server sends them, with what others put into messages and aiormq cannot read.

Anybody may publish text that is no UTF-8, or a time after the year 9999. aiormq would end the
connection for it, and the next one as well, as the message is still there.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiormq
from aiormq.connection import FrameReceiver, ReceivedFrame
from pamqp import constants, decode, frame
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

_Decoder = Callable[[bytes], tuple[int, Any]]
"""Returns how many bytes were decoded, and what they are."""

_FRAME: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQ")
_REFUSED_BY_THE_CODEC: Final = frozenset({"content_type", "content_encoding"})


class Incoming(FrameReceiver):
    """Reads frames as aiormq does."""

    async def get_frame(self) -> ReceivedFrame:
        """Return the next frame. Raises `AMQPConnectionError` where there will be none.

        In the header of a message, text that is no UTF-8 has lone surrogates in the properties
        of its content, and in the names of headers; any other such property is left out, and so
        is a time that is out of range. As a header, that is a number of seconds.
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
        try:
            return frame.unmarshal(head + rest)
        except PAMQPException as error:
            if kind != constants.FRAME_HEADER:
                raise aiormq.exceptions.InvalidFrameError(str(error)) from error
        try:
            return len(head) + len(rest), channel, _header(rest[:-1])
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise aiormq.exceptions.InvalidFrameError(str(error)) from error


def _header(data: bytes) -> ContentHeader:
    header = ContentHeader()
    header.class_id, header.weight, header.body_size = _CONTENT.unpack_from(data)
    (flags,) = struct.unpack_from(">H", data, _CONTENT.size)
    data = data[_CONTENT.size + 2 :]
    properties = header.properties
    for name in properties.attributes():
        if flags & properties.flags[name]:
            used, value = _PROPERTIES[properties.amqp_type(name)](data)
            if isinstance(value, bytes):
                value = _escaped(value) if name in _REFUSED_BY_THE_CODEC else None
            elif name == "timestamp" and isinstance(value, int):
                value = None
            setattr(properties, name, value)
            data = data[used:]
    return header


def _short_text(data: bytes) -> tuple[int, str | bytes]:
    used = 1 + data[0]
    text = data[1:used]
    try:
        return used, text.decode()
    except UnicodeDecodeError:
        return used, text


def _time(data: bytes) -> tuple[int, Any]:
    try:
        return decode.timestamp(data)
    except ValueError:
        return decode.long_long_int(data)


def _table(data: bytes) -> tuple[int, dict[str, Any]]:
    end, at = _extent(data)
    table: dict[str, Any] = {}
    while at < end:
        start = at + 1
        at = start + data[at]
        name = _escaped(data[start:at])
        used, table[name] = _value(data[at:end])
        at += used
    return end, table


def _array(data: bytes) -> tuple[int, list[Any]]:
    end, at = _extent(data)
    array: list[Any] = []
    while at < end:
        used, value = _value(data[at:end])
        array.append(value)
        at += used
    return end, array


def _extent(data: bytes) -> tuple[int, int]:
    """Return where a table or an array ends, and where what is in it begins."""
    (length,) = struct.unpack_from(">I", data)
    return 4 + length, 4


def _value(data: bytes) -> tuple[int, Any]:
    used, value = _VALUES[data[:1]](data[1:])
    return 1 + used, value


def _escaped(text: bytes) -> str:
    return text.decode(errors="surrogateescape")


_VALUES: Final[Mapping[bytes, _Decoder]] = {
    **decode.TABLE_MAPPING,
    b"A": _array,
    b"F": _table,
    b"T": _time,
}
_PROPERTIES: Final[Mapping[str, _Decoder]] = {
    **decode.METHODS,
    "shortstr": _short_text,
    "table": _table,
    "timestamp": _time,
}
