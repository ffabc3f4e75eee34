"""Events as HTTP messages: binary, structured and batched in, binary and structured out.

Follows the HTTP Protocol Binding of CloudEvents 1.0.2. Header names are lower-case here, as
ASGI hands them over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from broker.codecs.json import (
    BATCH_TYPE,
    EVENT_TYPE,
    decode_batch,
    decode_event,
    encode_event,
)
from broker.codecs.json import encode_batch as encode_json_batch
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import REQUIRED, Event
from broker.trigger import ContentMode

Headers = Sequence[tuple[bytes, bytes]]
Message = tuple[list[tuple[bytes, bytes]], bytes]
"""An HTTP message: its headers and its body."""

STRUCTURED_FROM: Final = 6 * 1024
"""Bytes of encoded headers above which an event travels structured: servers cap headers."""

_CLOUDEVENTS: Final = "application/cloudevents"
_CLAIMS: Final = frozenset(f"ce-{name}".encode() for name in REQUIRED)

_QUOTED_STRING: Final = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_SHORT: Final = 256
"""Bytes of a Content-Type up to which what it means is remembered."""

_NAMES: Final = {
    f"ce-{name}".encode(): name
    for name in (*REQUIRED, "time", "subject", "dataschema", "partitionkey", "traceparent")
}

_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*("[^"]*"?|[^;\s]*)""", re.IGNORECASE)

# Sent as they are: U+0021 to U+007E but the quotation mark and the percent sign (3.1.3.2).
_AS_IT_IS: Final = "!#$" + "".join(map(chr, range(0x26, 0x7F)))
_ENCODED: Final = re.compile(r"[^!#$&-~]")
_ON_A_LINE: Final = re.compile(r"[ -~]*")


def decode(headers: Headers, body: bytes) -> list[Event]:
    """Return the events of an HTTP message: one, or in a batch any number.

    Raises `InvalidEvent`, or `UnsupportedContent` where it is written in a way that the mesh
    does not read. The Content-Type alone tells the content mode.
    """
    event = _decode_plain(headers, body)
    return _decode_any(headers, body) if event is None else [event]


def claims_event(headers: Headers) -> bool:
    """Return whether a message with these headers means to carry CloudEvents, valid or not.

    It does if its Content-Type is one of CloudEvents, or if it has the header of any attribute
    that every event must have.
    """
    return any(
        name in _CLAIMS
        or (name == b"content-type" and is_cloudevents(value.strip(b" \t").decode("latin-1")))
        for name, value in headers
    )


def is_cloudevents(content_type: str) -> bool:
    """Return whether this media type says that a message is one or more CloudEvents."""
    return content_type[: len(_CLOUDEVENTS)].lower() == _CLOUDEVENTS


def encode(event: Event, mode: ContentMode | None = None) -> Message:
    """Return the event as an HTTP message, binary if ``mode`` does not say otherwise.

    Without a ``mode``, an event whose headers would pass `STRUCTURED_FROM` goes structured. So
    does, in any case, one whose payload is itself a CloudEvent: its Content-Type would be taken
    for the content mode.
    """
    if mode == "structured" or is_cloudevents(event.attributes.get("datacontenttype", "")):
        return encode_structured(event)
    headers, body = encode_binary(event)
    if mode is None:
        # Four more for the colon, the blank and the line's end.
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > STRUCTURED_FROM:
            return encode_structured(event)
    return headers, body


def encode_lines(event: Event, mode: ContentMode | None = None) -> tuple[bytes, bytes]:
    """Return what `encode` does, with the headers as lines: a line break stands before each.

    An event whose values are sent as they are takes a third of the time of `encode` and writing
    its headers out.
    """
    attributes = event.attributes
    content_type = attributes.get("datacontenttype")
    others = [item for item in attributes.items() if item[0] != "datacontenttype"]
    if (
        mode != "structured"
        and not _ENCODED.search("".join([value for _, value in others]))
        and (
            content_type is None
            or (_ON_A_LINE.fullmatch(content_type) and not is_cloudevents(content_type))
        )
    ):
        lines = "".join([f"\r\nce-{name}: {value}" for name, value in others])
        if content_type is not None:
            lines += f"\r\ncontent-type: {content_type}"
        if mode is not None or len(lines) <= STRUCTURED_FROM:
            return lines.encode("ascii"), event.data or b""
    headers, body = encode(event, mode)
    return written(headers), body


def written(headers: Headers) -> bytes:
    """Return headers as lines, a line break before each. Raises `ValueError` if one has another."""
    lines = b"".join([b"\r\n%s: %s" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        # Values are encoded long before. One that is not must not become a header of its own.
        raise ValueError("a header contains a line break")
    return lines


def encode_binary(event: Event) -> Message:
    """Return the event in binary content mode, with no Content-Type if the event has none."""
    headers = [
        (b"content-type", value.encode())
        if name == "datacontenttype"
        else (b"ce-" + name.encode(), _encode_value(value))
        for name, value in event.attributes.items()
    ]
    return headers, event.data or b""


def encode_structured(event: Event) -> Message:
    """Return the event in structured content mode, in the JSON format."""
    return [(b"content-type", EVENT_TYPE.encode())], encode_event(event)


def encode_batch(events: Iterable[Event]) -> Message:
    """Return the events in batched content mode, which a receiver must have asked for."""
    return [(b"content-type", BATCH_TYPE.encode())], encode_json_batch(events)


def _check_encoding(value: bytes) -> None:
    if value.strip(b" \t").lower() not in (b"", b"identity"):
        raise UnsupportedContent(
            f"the content encoding '{value.decode('latin-1')}' is not read, only identity is"
        )


def _check_format(essence: str, media_type: str) -> None:
    if essence not in (EVENT_TYPE, BATCH_TYPE):
        raise UnsupportedContent(
            f"the event format '{essence}' is not read, only {EVENT_TYPE} and {BATCH_TYPE} are"
        )
    for charset in _CHARSET.findall(media_type):
        if charset.strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedContent(f"the charset '{charset}' is not read, only UTF-8 is")


def _decode_plain(headers: Headers, body: bytes) -> Event | None:
    """Return what `_decode_any` does, in half its time, or None if more is to be done.

    That is where the event is not in binary content mode, a header occurs twice, or a value has
    to be decoded.
    """
    known = dict(headers)
    if len(known) < len(headers) or b"content-encoding" in known:
        return None
    content_type = known.get(b"content-type")
    media_type, essence = ("", "") if content_type is None else _parsed_type(content_type)
    if essence.startswith(_CLOUDEVENTS):
        return None
    context = {header: value for header, value in headers if header[:3] == b"ce-"}
    values = b"".join(context.values())
    if not values.isascii() or b"%" in values or b'"' in values or b" " in values:
        return None
    attributes = {
        _NAMES.get(header) or header[3:].decode("latin-1"): value.decode()
        for header, value in context.items()
    }
    if "datacontenttype" in attributes or b"\t" in values:
        return None
    if content_type is not None:
        attributes["datacontenttype"] = media_type
    return Event.checked(attributes, body or None)


def _decode_any(headers: Headers, body: bytes) -> list[Event]:
    content_type: bytes | None = None
    context: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name.startswith(b"ce-"):
            context.append((name, value))
        elif name == b"content-type":
            if content_type is not None:
                raise InvalidEvent(
                    "the header 'content-type' occurs twice", attribute="datacontenttype"
                )
            content_type = value
        elif name == b"content-encoding":
            _check_encoding(value)
    if content_type is None:
        return [_decode_binary(context, None, body)]
    media_type, essence = _parsed_type(content_type)
    if not essence.startswith(_CLOUDEVENTS):
        return [_decode_binary(context, media_type, body)]
    _check_format(essence, media_type)
    return decode_batch(body) if essence == BATCH_TYPE else [decode_event(body)]


def _parsed_type(value: bytes) -> tuple[str, str]:
    """Return a Content-Type, and what it is called without parameters."""
    return (_known_type if len(value) <= _SHORT else _known_type.__wrapped__)(value)


@lru_cache(maxsize=1024)
def _known_type(value: bytes) -> tuple[str, str]:
    media_type = _text("datacontenttype", value.strip(b" \t"))
    return media_type, media_type.partition(";")[0].rstrip().lower()


def _decode_binary(context: Headers, media_type: str | None, body: bytes) -> Event:
    attributes: dict[str, str] = {}
    for header, value in context:
        name = header[3:].decode("latin-1")
        if name in attributes:
            raise InvalidEvent(f"the header 'ce-{name}' occurs twice", attribute=name)
        if name == "datacontenttype":
            raise InvalidEvent(
                "the content type of the data is in Content-Type, not in 'ce-datacontenttype'",
                attribute=name,
            )
        attributes[name] = _decode_value(name, value)
    if media_type is not None:
        attributes["datacontenttype"] = media_type
    return Event.checked(attributes, body or None)


def _decode_value(name: str, value: bytes) -> str:
    value = value.strip(b" \t")
    if value.startswith(b'"'):
        quoted = _QUOTED_STRING.fullmatch(value)
        if quoted:
            value = _QUOTED_PAIR.sub(rb"\1", quoted[1])
    # Leaves a percent sign as it is where no two hexadecimal digits follow it.
    return _text(name, unquote_to_bytes(value) if b"%" in value else value)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"'{name}' is not UTF-8", attribute=name) from error


def _encode_value(value: str) -> bytes:
    if _ENCODED.search(value):
        return quote(value, safe=_AS_IT_IS).encode()
    return value.encode()
