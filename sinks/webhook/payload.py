"""What a template can name of an event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from broker.event import Event
from broker.formats import is_json

PAYLOAD: Final = "data"
"""What a name begins with that leads into the payload. No attribute is called that."""


class Lacking(Exception):
    """The event does not have what the template names; the text says what, and why."""


class Raw(str):
    """A number, true, false, null, a list or an object, as JSON."""

    __slots__ = ()


class Named:
    """What of an event has a name. Its payload is read once, and only if it is asked for."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def value(self, name: Sequence[str]) -> str:
        """Return the value of that name: `Raw`, or what a string says. Raises `Lacking`."""
        first, *parts = name
        if first != PAYLOAD:
            return self._attribute(first)
        if not parts:
            return self._whole()
        found = self._payload
        for index, part in enumerate(parts):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, TypeError, ValueError):
                path = ".".join((PAYLOAD, *parts[: index + 1]))
                raise Lacking(f"the payload has no '{path}'") from None
        return found if isinstance(found, str) else Raw(_as_json(found))

    def _attribute(self, name: str) -> str:
        value = self._event.attributes.get(name)
        if value is None:
            raise Lacking(f"the event has no attribute '{name}'")
        return Raw(value) if name in self._event.kinds else value

    def _whole(self) -> str:
        text = self._text
        try:
            value = self._payload
        except Lacking:
            return text
        return value if isinstance(value, str) else Raw(text)

    @cached_property
    def _text(self) -> str:
        if self._event.data is None:
            raise Lacking("the event has no payload")
        try:
            return self._event.data.decode()
        except UnicodeDecodeError:
            raise Lacking("the payload is not text") from None

    @cached_property
    def _payload(self) -> Any:  # noqa: ANN401 - whatever JSON can say
        """What the payload says as JSON."""
        text = self._text
        content_type = self._event.attributes.get("datacontenttype")
        try:
            if content_type is not None and not is_json(content_type):
                raise ValueError(content_type)
            # As a decimal, a number says what it said in the payload: 12.50 stays that.
            return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise Lacking("the payload is not JSON") from None


def _as_json(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=float)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
