"""Events as MQTT 5 messages and back: binary, or structured where that does not fit.

Follows the MQTT Protocol Binding of CloudEvents 1.0.2: in binary mode attributes are user
properties of the same names, and ``datacontenttype`` is the content type.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.codecs.fitting import fitting, named, text_of
from broker.codecs.json import EVENT_TYPE, decode_event, encode_event
from broker.codecs.structured import decode_structured
from broker.errors import InvalidEvent
from broker.event import Event, check_name, shown

TYPE: Final = "dev.cemesh.mqtt.message"

_CLOUDEVENTS: Final = "application/cloudevents"
_CONTENT_TYPE: Final = "datacontenttype"
_LONGEST: Final = 65_535  # bytes of a text, MQTT 5, section 1.5.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it is published, or as it came.

    Of one that came ``number`` is the packet identifier, and ``flaw`` why it cannot be read.
    """

    topic: str = ""
    payload: bytes = b""
    content_type: str | None = None
    user_properties: Sequence[tuple[str, str]] = ()
    response_topic: str | None = None
    correlation_data: bytes | None = None
    retained: bool = False
    qos: int = 1
    number: int = 0
    flaw: str | None = None


def content_of(event: Event, *, structured: bool, retained: bool) -> Message:
    """Return the message that `event_of` makes the event of.

    It is structured where a binary one could not hold an attribute, or would be taken for a
    structured one, as its payload is a CloudEvent itself.
    """
    attributes = dict(event.attributes)
    content_type = attributes.pop(_CONTENT_TYPE, None)
    if structured or _is_cloudevents(content_type) or _too_long(event.attributes):
        return Message(payload=encode_event(event), content_type=EVENT_TYPE, retained=retained)
    return Message(
        payload=event.data or b"",
        content_type=content_type,
        user_properties=tuple(attributes.items()),
        retained=retained,
    )


def event_of(message: Message, uri: str, *, always_cloudevents: bool = False) -> Event:
    """Return the message's event; ``uri`` is the source's.

    A CloudEvent is what it is. Of anything else the event tells, and has an id that no other has,
    not even of the same message where that comes again: MQTT tells messages apart by a number that
    it gives to another as soon as the first is acknowledged. ``always_cloudevents`` takes what has
    no content type for an event in JSON, as MQTT 3.1.1 has it. Raises `InvalidEvent` for what says
    that it is a CloudEvent, and is none, and for what cannot be read.
    """
    if message.flaw is not None:
        raise InvalidEvent(message.flaw)
    if message.content_type is not None and _is_cloudevents(message.content_type):
        return decode_structured(message.content_type.encode(), message.payload, protocol="MQTT")
    if any(name == "specversion" for name, _ in message.user_properties):
        return _binary(message)
    if always_cloudevents and message.content_type is None:
        return decode_event(message.payload)
    return _told(message, uri)


def _binary(message: Message) -> Event:
    attributes: dict[str, str] = {}
    for name, value in message.user_properties:
        if not _is_name(name):  # nobody's attribute, but what gateways and tracers add
            continue
        if name in attributes:
            raise InvalidEvent(f"the user property '{shown(name)}' occurs twice", attribute=name)
        attributes[name] = value
    content_type = message.content_type
    if (
        content_type is not None
        and attributes.setdefault(_CONTENT_TYPE, content_type) != content_type
    ):
        raise InvalidEvent(
            f"the content type contradicts the user property '{_CONTENT_TYPE}'",
            attribute=_CONTENT_TYPE,
        )
    return Event.checked(attributes, message.payload or None)


def _told(message: Message, uri: str) -> Event:
    identity = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": uri, "type": TYPE}
    found: dict[str, str | None] = {
        "subject": message.topic,
        _CONTENT_TYPE: message.content_type,
        "mqttretained": "true" if message.retained else None,
        "mqttresponsetopic": message.response_topic,
        "mqttcorrelationdata": text_of(message.correlation_data),
    }
    found |= named("mqttproperty", message.user_properties)
    return Event.checked(fitting(identity, found), message.payload or None)


def _is_cloudevents(content_type: str | None) -> bool:
    return content_type is not None and content_type.lower().startswith(_CLOUDEVENTS)


def _too_long(attributes: Mapping[str, str]) -> bool:
    return any(len(value.encode()) > _LONGEST for value in attributes.values())


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidEvent:
        return False
    return True
