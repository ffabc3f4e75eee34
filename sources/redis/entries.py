"""The event that an entry of a stream is, or that tells of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from broker.codecs.fitting import time_of
from broker.codecs.json import decode_event
from broker.connections.redis import EVENT_FIELD
from broker.errors import InvalidEvent
from broker.event import Event

TYPE: Final = "dev.cemesh.redis.entry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry as it was read. A name may occur twice among the fields."""

    id: str
    fields: Sequence[tuple[bytes, bytes]]

    @property
    def size(self) -> int:
        return sum(len(name) + len(value) for name, value in self.fields)

    def content(self) -> bytes:
        """Return what a dead letter has of it: the event that it says it is, or all fields."""
        events = [value for name, value in self.fields if name == EVENT_FIELD]
        return events[0] if len(events) == 1 else _json(self.fields)


def event_of(entry: Entry, uri: str, stream: str) -> Event:
    """Return the entry's event; ``uri`` is the source's.

    One with the field `EVENT_FIELD` is the event that this is in the JSON format, and other fields
    beside it are not looked at. Anything else is told of. Raises `InvalidEvent`.
    """
    events = [value for name, value in entry.fields if name == EVENT_FIELD]
    if len(events) > 1:
        raise InvalidEvent(f"the field '{EVENT_FIELD.decode()}' occurs {len(events)} times")
    if events:
        return decode_event(events[0])
    for name, _ in entry.fields:
        if _text(name) is None:
            raise InvalidEvent(f"the name of the field {name!r} is not UTF-8")
    attributes = {
        "specversion": "1.0",
        "id": entry.id,
        "source": f"{uri}#{quote(stream, safe='')}",
        "type": TYPE,
        "datacontenttype": "application/json",
    }
    time = time_of(int(entry.id.partition("-")[0]))
    if time is not None:
        attributes["time"] = time
    return Event.checked(attributes, _json(entry.fields))


_Value = str | dict[str, str]


def _json(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return an object of the fields; one that occurs several times has all its values."""
    found: dict[str, list[_Value]] = {}
    for name, value in fields:
        found.setdefault(name.decode(errors="backslashreplace"), []).append(_value(value))
    members = {name: each[0] if len(each) == 1 else each for name, each in found.items()}
    return json.dumps(members, ensure_ascii=False).encode()


def _value(value: bytes) -> _Value:
    text = _text(value)
    return {"base64": base64.b64encode(value).decode()} if text is None else text


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
