"""A message that is no CloudEvent, as one: for the dead-letter store, which keeps events.

What others published to a broker must neither be lost nor stop its consumers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final, Protocol
from urllib.parse import quote

from broker.codecs.fieldtables import canonical
from broker.errors import InvalidEvent
from broker.event import Event, check_attributes

TYPE: Final = "dev.knative.rabbitmq.event"

_HEADER: Final = "rabbitmqheader"
_NOT_IN_A_NAME: Final = re.compile("[^a-z0-9]")
_ADDED_ON_THE_WAY: Final = "x-"


class Received(Protocol):
    """A message as aio-pika hands it to whoever consumes it."""

    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, object]: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def content_encoding(self) -> str | None: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def reply_to(self) -> str | None: ...
    @property
    def timestamp(self) -> datetime | None: ...
    @property
    def type(self) -> str | None: ...
    @property
    def app_id(self) -> str | None: ...
    @property
    def exchange(self) -> str | None: ...
    @property
    def routing_key(self) -> str | None: ...


def event_of_message(message: Received, queue: str) -> Event:
    """Return an event that tells what the message is and has its body as data.

    ``source`` is ``rabbitmq:QUEUE``, ``type`` that of Knative's source for RabbitMQ, ``time`` the
    message's own. ``id`` is the message's, or, where it has none, a digest of it: the same
    whenever it is delivered. Each other property is in ``rabbitmq`` and its name, each header in
    ``rabbitmqheader`` and its name, without what no name of an attribute can have. Left out is
    what no attribute can hold, and the second of a name.
    """
    identity = {
        "specversion": "1.0",
        "id": _digest(message),
        "source": f"rabbitmq:{quote(queue, safe='')}",
        "type": TYPE,
    }
    found: dict[str, object] = {
        "id": message.message_id,
        "time": message.timestamp,
        "datacontenttype": message.content_type,
        "rabbitmqcontenttype": message.content_type,
        "rabbitmqcontentencoding": message.content_encoding,
        "rabbitmqcorrelationid": message.correlation_id,
        "rabbitmqreplyto": message.reply_to,
        "rabbitmqtype": message.type,
        "rabbitmqappid": message.app_id,
        "rabbitmqexchange": message.exchange,
        "rabbitmqroutingkey": message.routing_key,
    }
    for name, value in message.headers.items():
        found.setdefault(_HEADER + _NOT_IN_A_NAME.sub("", name.lower()), value)
    attributes = dict(identity)
    for name, value in found.items():
        text = _text(value)
        if text is not None and _is_valid({**identity, name: text}):
            attributes[name] = text
    return Event(attributes, message.body or None)


def _digest(message: Received) -> str:
    own = sorted(
        (name, repr(value))
        for name, value in message.headers.items()
        if not name.startswith(_ADDED_ON_THE_WAY)
    )
    told = (message.content_type, message.timestamp, message.routing_key, own, message.body)
    return sha256(repr(told).encode(errors="surrogatepass")).hexdigest()[:32]


def _text(value: object) -> str | None:
    try:
        return canonical(value)[0]
    except ValueError:
        return None


def _is_valid(attributes: Mapping[str, str]) -> bool:
    try:
        check_attributes(attributes)
    except InvalidEvent:
        return False
    return True
