"""The event that a row is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.errors import InvalidEvent
from broker.event import Event, Value

ATTRIBUTES: Final = (
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
)
"""Those that can have a column of their own."""

_extensions: Final = msgspec.json.Decoder(dict[str, str | bool | int | None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it was read. ``key`` is what the database knows it by, ``position`` its text.

    ``json`` says that ``data`` comes from a column that holds nothing else.
    """

    key: Any
    position: str
    attributes: Mapping[str, str | None]
    extensions: str | None
    data: bytes | None
    json: bool


def event_of(row: Row, source: str) -> Event:
    """Return the row's event, whose source is ``source`` where the row has none.

    Raises `InvalidEvent` where it cannot be one.
    """
    typed: dict[str, Value] = {"specversion": "1.0", "source": source}
    typed |= {name: text for name, text in row.attributes.items() if text is not None}
    if row.json and row.data is not None:
        typed.setdefault("datacontenttype", "application/json")
    for name, value in _extensions_of(row).items():
        if name in row.attributes or name == "specversion":
            raise InvalidEvent(
                f"'{name}' is among the extensions, and has a column of its own", attribute=name
            )
        if value is not None:
            typed[name] = value
    event = Event.of_typed(typed, row.data)
    return Event.checked(event.attributes, event.data, event.kinds)


def _extensions_of(row: Row) -> Mapping[str, str | bool | int | None]:
    if row.extensions is None:
        return {}
    try:
        return _extensions.decode(row.extensions)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(
            f"the extensions are no object of strings, booleans and integers: {error}"
        ) from error
