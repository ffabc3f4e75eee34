"""The event that a record of Kafka is, or that tells of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.codecs import kafka
from broker.codecs.fitting import are_valid, fitting, named, text_of, time_of
from broker.event import Event

TYPE: Final = "dev.knative.kafka.event"

_CONTENT_TYPE: Final = "content-type"
_CLOUDEVENTS: Final = b"application/cloudevents"
_REQUIRED: Final = frozenset({"ce_specversion", "ce_id", "ce_source", "ce_type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as it was read. ``timestamp`` counts milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def id(self) -> str:
        return f"partition:{self.partition}/offset:{self.offset}"


def event_of(record: Record, uri: str) -> Event:
    """Return the record's event; ``uri`` is the source's.

    A CloudEvent (Kafka Protocol Binding 1.0.2, in binary or structured mode) is what it is. Of
    anything else Knative's attributes tell. Raises `InvalidEvent` for what says that it is a
    CloudEvent, and is none.
    """
    if _says_it_is_an_event(record.headers):
        event, _ = kafka.decode(record.headers, record.value)
        return event
    identity = {
        "specversion": "1.0",
        "id": record.id,
        "source": f"{uri}#{record.topic}",
        "type": TYPE,
        "subject": f"partition:{record.partition}#{record.offset}",
    }
    found = {**_of_key(record.key), "time": time_of(record.timestamp)}
    found |= named("kafkaheader", ((name, text_of(value)) for name, value in record.headers))
    found["datacontenttype"] = text_of(dict(record.headers).get(_CONTENT_TYPE))
    return Event.checked(fitting(identity, found), record.value)


def _says_it_is_an_event(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    return any(
        name in _REQUIRED
        or (name == _CONTENT_TYPE and (value or b"").lower().startswith(_CLOUDEVENTS))
        for name, value in headers
    )


def _of_key(key: bytes | None) -> dict[str, str | None]:
    """Return the attributes of a key: what is no text that they could hold is in base64."""
    if not key:
        return {}
    text = text_of(key)
    if text is not None and are_valid({**_MINIMAL, "key": text}):
        return {"key": text, "partitionkey": text}
    encoded = base64.b64encode(key).decode()
    return {"keybase64": encoded, "partitionkey": encoded}


_MINIMAL: Final[Mapping[str, str]] = {"specversion": "1.0", "id": "1", "source": "/", "type": "t"}
