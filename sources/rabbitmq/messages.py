"""The event that a message of RabbitMQ is, or that tells of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from aiormq.abc import DeliveredMessage

from broker.codecs import amqp
from broker.codecs.fieldtables import canonical
from broker.codecs.fitting import fitting, named
from broker.codecs.http import is_cloudevents
from broker.event import Event

TYPE: Final = "dev.knative.rabbitmq.event"

_CONTENT_TYPE: Final = "content-type"
_REQUIRED: Final = frozenset(
    f"{prefix}{name}"
    for prefix in ("ce-", "cloudEvents:", "cloudEvents_")
    for name in ("specversion", "id", "source", "type")
)
_COUNTED: Final = frozenset({"x-delivery-count", "x-acquired-count"})
"""Headers of the server's own, which are others when the message comes again."""


def event_of(message: DeliveredMessage, uri: str, queue: str) -> Event:
    """Return the message's event; ``uri`` is the source's.

    A CloudEvent is what it is. Of anything else Knative's attributes tell, and what the message
    says besides; its id is the message id, or one that no other event has, not even of the same
    message where that comes again: two equal messages are two. Raises `InvalidEvent` for what says
    that it is a CloudEvent, and is none.
    """
    properties = message.header.properties
    headers: Mapping[str, object] = properties.headers or {}
    media_type = properties.content_type or headers.get(_CONTENT_TYPE)
    if _says_it_is_an_event(headers, media_type):
        event, _ = amqp.decode(
            headers,
            message.body,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
        )
        return event
    identity = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"{uri}#{quote(queue, safe='')}",
        "type": TYPE,
    }
    if properties.message_id:
        identity = fitting(identity, {"id": properties.message_id})
    found: dict[str, str | None] = {
        "subject": properties.message_id,
        "key": properties.message_id,
        "time": _text(properties.timestamp),
        "datacontenttype": _text(media_type),
        "rabbitmqexchange": message.exchange,
        "rabbitmqroutingkey": message.routing_key,
        "rabbitmqcontentencoding": properties.content_encoding,
        "rabbitmqcorrelationid": properties.correlation_id,
        "rabbitmqreplyto": properties.reply_to,
        "rabbitmqtype": properties.message_type,
        "rabbitmqappid": properties.app_id,
    }
    told = ((name, _text(value)) for name, value in headers.items() if name not in _COUNTED)
    found |= named("rabbitmqheader", told)
    said = {name: text for name, text in found.items() if text != ""}
    return Event.checked(fitting(identity, said), message.body or None)


def label_of(message: DeliveredMessage, queue: str) -> str:
    """Return how a dead letter is told from others of the queue."""
    return f"{queue}/{message.header.properties.message_id or message.delivery_tag}"


def _says_it_is_an_event(headers: Mapping[str, object], media_type: object) -> bool:
    # The names alone, without a prefix, are how Knative's broker for RabbitMQ has them.
    return (
        not _REQUIRED.isdisjoint(headers)
        or "specversion" in headers
        or (isinstance(media_type, str) and is_cloudevents(media_type))
    )


def _text(value: object) -> str | None:
    """Return what an attribute can have of a value, or None."""
    try:
        return canonical(value)[0]
    except ValueError:
        return None
