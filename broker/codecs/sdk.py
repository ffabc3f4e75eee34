"""Events of the CloudEvents SDK, for plug-ins that speak it. It is not on the data path."""

from __future__ import annotations

import json
from datetime import datetime

from cloudevents.core.v1.event import CloudEvent

from broker.errors import InvalidEvent
from broker.event import Event, Kind
from broker.ports import SdkEvent


def from_sdk(event: SdkEvent) -> Event:
    """Return the same event; raises `InvalidEvent`.

    Bytes are the payload, and so is text, in UTF-8: whoever has JSON as text has it encoded
    already. Any other data is encoded as JSON, which a missing ``datacontenttype`` then says.
    """
    attributes: dict[str, str] = {}
    kinds: dict[str, Kind] = {}
    for name, value in event.get_attributes().items():
        if value is None:
            continue
        attributes[name] = _canonical(name, value)
        if isinstance(value, bool):
            kinds[name] = "boolean"
        elif isinstance(value, int):
            kinds[name] = "integer"
    return Event.checked(attributes, _payload(event.get_data(), attributes), kinds)


def to_sdk(event: Event) -> CloudEvent:
    """Return the same event, its payload as bytes; raises `InvalidEvent`.

    The SDK keeps ``time`` as a datetime, which has no more than microseconds and no leap
    seconds: what it cannot hold is refused, finer fractions are cut.
    """
    attributes: dict[str, object] = dict(event.attributes)
    for name, kind in event.kinds.items():
        text = event.attributes[name]
        attributes[name] = int(text) if kind == "integer" else text == "true"
    time = event.attributes.get("time")
    if time is not None:
        attributes["time"] = _datetime(time)
    made = CloudEvent(attributes, event.data)
    if time is None:
        del made.get_attributes()["time"]  # the SDK invents one
    return made


def _canonical(name: str, value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            raise InvalidEvent(
                f"'{name}' is a {type(value).__name__}, which no attribute can be", attribute=name
            )


def _payload(data: object, attributes: dict[str, str]) -> bytes | None:
    match data:
        case None:
            return None
        case bytes() | bytearray() | memoryview():
            return bytes(data)
        case str():
            text = data
        case _:
            attributes.setdefault("datacontenttype", "application/json")
            text = _json(data)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent("the data holds half of a surrogate pair") from error


def _json(data: object) -> str:
    try:
        return json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidEvent(f"the data cannot be written as JSON: {error}") from error


def _datetime(time: str) -> datetime:
    try:
        return datetime.fromisoformat(time.upper())
    except ValueError as error:
        raise InvalidEvent(
            f"'time' does not fit into a datetime: '{time}'", attribute="time"
        ) from error
