"""Events as AMQP 0-9-1 messages and back: binary, or structured where that does not fit.

CloudEvents has no binding for AMQP 0-9-1. Written is what is common on RabbitMQ: attributes in
headers that begin with ``ce-``, the media type of the data in the property ``content_type``. Read
is also what follows the AMQP 1.0 Protocol Binding of CloudEvents 1.0.2, with ``cloudEvents:`` or
``cloudEvents_``, and what Knative's broker for RabbitMQ writes, whose headers have no prefix.
What the mesh keeps beside an event is in headers that begin with ``cemesh-``; the span that it
comes from is in ``traceparent`` and ``tracestate``, as of any message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from broker.codecs.fieldtables import called, canonical
from broker.codecs.http import STRUCTURED_FROM, is_cloudevents
from broker.codecs.json import EVENT_TYPE, encode_event
from broker.codecs.notes import (
    DATA,
    HOPS,
    KINDS,
    NO_NOTES,
    NOTES,
    OURS,
    Notes,
    kinds_text,
    notes_text,
    read_hops,
    read_kinds,
    read_notes,
)
from broker.codecs.structured import decode_structured
from broker.errors import InvalidEvent
from broker.event import Event, Kind, shown
from broker.filters.terms import Term, present
from broker.tracecontext import TRACEPARENT, TRACESTATE, headers_of, joined

Headers = Mapping[str, object]
"""The headers of a message as aio-pika has them: any type of a field table's values."""

STRUCTURED: Final[Mapping[str, str]] = {"cemesh-mode": "structured"}
"""The header of every message that `encode` makes in structured mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be published, to be kept on disk.

    It has no message id: aiormq tells by it which publishing was returned, so it makes one for
    each, where ids of events may be the same in two of them.
    """

    body: bytes
    headers: dict[str, str]
    content_type: str | None
    delivery_mode: ClassVar[int] = 2


_PREFIX: Final = "ce-"
_NAMES: Final = "cemesh-names"
"""The header with the names of all attributes in their order, unless that is the alphabet's."""

_OTHER_PREFIXES: Final = ("cloudEvents:", "cloudEvents_")
_ID: Final = "ce-id"
_CONTENT_TYPE: Final = "content-type"
_NAME: Final = re.compile(r"[a-z0-9]+")
# Knative's broker keeps the trace of the hop in these; ``data`` can be no attribute of anybody's.
_NO_ATTRIBUTES: Final = frozenset({"data", "traceparent", "tracestate"})
# Some clients name the charset here, or what they make of bytes.
_NOT_ENCODED: Final = frozenset({"identity", "binary", "utf-8", "utf8", "us-ascii", "ascii"})

# Limits of AMQP 0-9-1. aiormq cuts longer names of headers off, and does not get a longer
# content type out at all.
_LONGEST_NAME: Final = 128
_LONGEST_CONTENT_TYPE: Final = 255
_OF_A_HEADER: Final = 6
"""Bytes that a header takes beside its name and its value."""
_TOLD: Final = 2048
"""Characters of a refusal's texts that are kept: all headers have to fit in one frame."""


def encode(event: Event, notes: Notes = NO_NOTES, *, structured: bool = False) -> Message:
    """Return the message that `decode` makes the same event and the same notes of.

    It is binary unless ``structured`` is asked for, its headers would pass `STRUCTURED_FROM`, one
    has a name that AMQP cannot have, or its payload is itself a CloudEvent, whose media type would
    be taken for the content mode. Every attribute is a header, and all headers are text, so that a
    headers exchange can look them up: see `matching`. Of a refusal's texts, the first 2,048
    characters are kept. So the headers take less than 48 KiB, and in almost all cases less than 8.
    """
    attributes = event.attributes
    content_type = attributes.get("datacontenttype")
    headers = {_PREFIX + name: value for name, value in attributes.items()}
    body = event.data
    if body == b"":
        headers[DATA] = "empty"
    if event.kinds:
        headers[KINDS] = kinds_text(event.kinds)
    names = list(attributes)
    if names != sorted(names):
        headers[_NAMES] = " ".join(names)
    is_event = content_type is not None and is_cloudevents(content_type)
    if structured or is_event or not _fit(headers):
        headers = dict(STRUCTURED)
        content_type = EVENT_TYPE
        body = encode_event(event)
    elif content_type is not None and len(content_type) > _LONGEST_CONTENT_TYPE:
        content_type = None  # it is among the headers
    if event.hops:
        headers[HOPS] = str(event.hops)
    if event.trace is not None:
        headers.update(headers_of(event.trace))
    if notes is not NO_NOTES:
        headers[NOTES] = notes_text(_shortened(notes)).decode()
    return Message(body=body or b"", headers=headers, content_type=content_type)


def matching(terms: Iterable[Term]) -> dict[str, str | None]:
    """Return headers that every event has which fulfils all the terms; None stands for any value.

    An event in structured mode is the exception: it has `STRUCTURED` instead. Terms that a
    headers exchange cannot look up are left out, so more events may have the headers.
    """
    headers: dict[str, str | None] = {}
    for term in terms:
        name = _PREFIX + term.attribute
        if not _fit({name: term.text}):
            continue  # such an event is structured
        if term.test == "exact":
            headers[name] = term.text
        elif term == present(term.attribute):
            headers.setdefault(name, None)
    return headers


def decode(
    headers: Headers,
    body: bytes,
    *,
    content_type: str | None = None,
    content_encoding: str | None = None,
) -> tuple[Event, Notes]:
    """Return the event of a message, and what is noted beside it; raises `InvalidEvent`.

    The content type alone tells the content mode; where the property is not set, it is the header
    ``content-type``. An attribute may be a boolean, an integer of 32 bits, a timestamp or text.
    Anybody may publish, so the mesh's own headers are checked like those of attributes; any
    others may be whatever they are, those of traces too, of which what is wrong is left out. A body
    that is empty is no data, unless it is said to be.
    """
    if content_encoding and content_encoding.lower() not in _NOT_ENCODED:
        raise InvalidEvent(
            f"the content encoding '{shown(content_encoding)}' is not read, only identity is"
        )
    media_type = content_type or headers.get(_CONTENT_TYPE) or None
    if isinstance(media_type, str) and is_cloudevents(media_type):
        told = media_type.encode(errors="surrogatepass")
        event = decode_structured(told, body, protocol="AMQP")
    else:
        event = _decode_binary(headers, body, media_type)
    if TRACEPARENT in headers:
        event = replace(event, trace=_trace(headers))
    if OURS.isdisjoint(headers):
        return event, NO_NOTES
    if HOPS in headers:
        event = replace(event, hops=read_hops(_ours(headers, HOPS)))
    return event, read_notes(_ours(headers, NOTES)) if NOTES in headers else NO_NOTES


def may_have_id(headers: Headers, id: str, *, content_type: str | None = None) -> bool:
    """Return whether `decode` may return an event with that id: to ask is ten times cheaper."""
    found = headers.get(_ID)
    if not isinstance(found, str) or found == id:
        return True
    media_type = content_type or headers.get(_CONTENT_TYPE)
    return isinstance(media_type, str) and is_cloudevents(media_type)


# --- writing -------------------------------------------------------------------------------


def _fit(headers: Mapping[str, str]) -> bool:
    names, values = "".join(headers), "".join(headers.values())
    size = len(names) + len(values if values.isascii() else values.encode())
    return (
        size + _OF_A_HEADER * len(headers) <= STRUCTURED_FROM
        and max(map(len, headers)) <= _LONGEST_NAME
    )


def _shortened(notes: Notes) -> Notes:
    why = notes.condemned
    if why is None:
        return notes
    reason, destination = _told(why.reason), _told(why.destination)
    return replace(notes, condemned=replace(why, reason=reason, destination=destination))


def _told(text: str) -> str:
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"


# --- reading -------------------------------------------------------------------------------


def _decode_binary(headers: Headers, body: bytes, media_type: object) -> Event:
    attributes: dict[str, str] = {}
    kinds: dict[str, Kind] = {}
    for header, value in headers.items():
        if header[:3] == _PREFIX:
            name = header[3:]
        elif header[:12] in _OTHER_PREFIXES:
            name = header[12:]
        else:
            continue
        text = value if isinstance(value, str) else _typed(header, name, value, kinds)
        if attributes.setdefault(name, text) != text:
            raise _refused(header, name, "contradicts another one of that attribute")
    if not attributes:
        return _decode_binary(_with_prefix(headers), body, media_type)
    if (
        isinstance(media_type, str)
        and attributes.setdefault("datacontenttype", media_type) != media_type
    ):
        raise InvalidEvent(
            "the content type of the message contradicts the header of 'datacontenttype'",
            attribute="datacontenttype",
        )
    data = body or None
    if DATA in headers:
        data = _payload(headers, body)
    if _NAMES in headers:
        attributes = _in_order(attributes, _ours(headers, _NAMES).split())
    if KINDS in headers:
        kinds.update(read_kinds(_ours(headers, KINDS)))
    return Event.checked(attributes, data, kinds)


def _in_order(attributes: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the attributes as they were, if these are their names: RabbitMQ may sort headers."""
    try:
        ordered = {name: attributes[name] for name in names}
    except KeyError:
        return attributes
    return ordered if len(ordered) == len(attributes) else attributes


def _with_prefix(headers: Headers) -> Headers:
    """Return headers as Knative's broker writes them, as others write them."""
    if "specversion" not in headers:
        raise InvalidEvent(
            f"the message is no CloudEvent: it has no header that begins with '{_PREFIX}', "
            f"and its content type is not {EVENT_TYPE}"
        )
    named = {name for name in headers if _NAME.fullmatch(name)} - _NO_ATTRIBUTES
    context = {_PREFIX + name: headers[name] for name in headers if name in named}
    return context | {name: headers[name] for name in OURS & headers.keys()}


def _typed(header: str, name: str, value: object, kinds: dict[str, Kind]) -> str:
    """Return the text of a value that is none, and note its kind."""
    try:
        text, kind = canonical(value)
    except ValueError as error:
        raise _refused(header, name, f"is {error}") from None
    if kind is not None:
        kinds[name] = kind
    return text


def _payload(headers: Headers, body: bytes) -> bytes:
    if _ours(headers, DATA) != "empty":
        raise InvalidEvent(f"the header '{DATA}' is not 'empty'")
    if body:
        raise InvalidEvent(f"the header '{DATA}' is 'empty' beside data")
    return body


def _trace(headers: Headers) -> str | None:
    parent, state = headers[TRACEPARENT], headers.get(TRACESTATE)
    if not isinstance(parent, str):
        return None
    return joined(parent, state if isinstance(state, str) else None)


def _ours(headers: Headers, name: str) -> str:
    """Return what a header of the mesh's own says."""
    value = headers[name]
    if not isinstance(value, str):
        raise InvalidEvent(f"the header '{name}' is {called(value)}")
    return value


def _refused(header: str, name: str, what: str) -> InvalidEvent:
    return InvalidEvent(f"the header '{shown(header)}' {what}", attribute=shown(name))
