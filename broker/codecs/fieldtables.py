"""Values of AMQP 0-9-1 field tables, which headers are, as values of attributes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from broker.event import INTEGER_RANGE, Kind

_CALLED: Final[Mapping[type, str]] = {
    type(None): "null",
    bytes: "not UTF-8",
    bytearray: "a byte array",
    bool: "a boolean",
    int: "an integer",
    datetime: "a timestamp",
    float: "a floating-point number",
    Decimal: "a decimal",
    dict: "a table",
    list: "an array",
}


def canonical(value: object) -> tuple[str, Kind | None]:
    """Return the text of an attribute that has this value, and its kind if that is no string.

    Raises `ValueError`, which says what the value is, where no attribute can have it.
    """
    match value:
        case str():
            return value, None
        case bool():
            return "true" if value else "false", "boolean"
        case int():
            if value not in INTEGER_RANGE:
                raise ValueError("an integer of more than 32 bits")
            return str(value), "integer"
        case datetime():  # which AMQP has in UTC
            return value.isoformat().replace("+00:00", "Z"), None
        case _:
            raise ValueError(called(value))


def called(value: object) -> str:
    """Return how errors call a value that is no text."""
    return _CALLED.get(type(value), f"a {type(value).__name__}")
