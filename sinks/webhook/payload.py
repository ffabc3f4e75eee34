"""What a template can name of an event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from broker.event import Event
from broker.formats import is_json

PAYLOAD: Final = "data"
"""What a name begins with that leads into the payload. No attribute is called that."""


class Lacking(Exception):
    """The event does not have what the template names; the text says what, and why."""


class Raw(str):
    """A number, true, false, null, a list or an object, as JSON."""

    __slots__ = ()


def found(event: Event, name: Sequence[str]) -> str:
    """Return the value of that name: `Raw`, or what a string says. Raises `Lacking`."""
    first, *parts = name
    if first == PAYLOAD:
        return _in_payload(event, parts)
    value = event.attributes.get(first)
    if value is None:
        raise Lacking(f"the event has no attribute '{first}'")
    return Raw(value) if first in event.kinds else value


def _in_payload(event: Event, parts: Sequence[str]) -> str:
    if event.data is None:
        raise Lacking("the event has no payload")
    content_type = event.attributes.get("datacontenttype")
    try:
        text = event.data.decode()
    except UnicodeDecodeError:
        raise Lacking("the payload is not text") from None
    try:
        if content_type is not None and not is_json(content_type):
            raise ValueError(content_type)
        # As a decimal, a number says what it said in the payload: 12.50 stays that.
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError):
        if parts:
            raise Lacking("the payload is not JSON") from None
        return text
    if not parts and not isinstance(value, str):
        return Raw(text)
    for index, part in enumerate(parts):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            path = ".".join((PAYLOAD, *parts[: index + 1]))
            raise Lacking(f"the payload has no '{path}'") from None
    return value if isinstance(value, str) else Raw(_as_json(value))


def _as_json(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=float)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
