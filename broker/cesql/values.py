"""Values, how one type is cast to another, and what goes wrong in an evaluation.

CESQL 1.0, sections 3.1 "Type system", 3.3 "Errors" and 3.7 "Type casting".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from broker.cesql.tree import Call, Value
from broker.event import INTEGER_RANGE

ErrorKind = Literal[
    "parse", "math", "cast", "missingAttribute", "missingFunction", "functionEvaluation"
]

LARGEST: Final = INTEGER_RANGE[-1]
SMALLEST: Final = INTEGER_RANGE[0]

ZERO: Final[Mapping[type[Value], Value]] = {str: "", int: 0, bool: False}
"""What an operation returns that erred, by the type that it returns."""

_MAX_SHOWN: Final = 128

# Possessive, so that 64 KiB of zeros and a letter are not tried in every split.
_INTEGER: Final = re.compile(r"([+-]?)(?=[0-9])0*+([0-9]*+)")
_MAX_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class EvaluationError:
    """Why the value of an evaluation is not to be trusted. ``message`` is for people."""

    kind: ErrorKind
    message: str

    def __str__(self) -> str:
        """Return the message, with its kind in front where it does not speak for itself."""
        return f"{self.kind}: {self.message}" if self.kind in {"cast", "math"} else self.message


class Failed(Exception):
    """Ends an evaluation at its first error, and goes no further than that.

    ``value`` is what the call of a function returned all the same, and ``call`` that call.
    """

    def __init__(self, kind: ErrorKind, message: str, *, value: Value = False) -> None:
        super().__init__(kind, message)
        self.error = EvaluationError(kind, message)
        self.value = value
        self.call: Call | None = None


def to_text(value: Value) -> str:
    """Return the value as a string."""
    if value.__class__ is bool:
        return "true" if value else "false"
    return str(value)


def to_integer(value: Value) -> int:
    """Return the value as an integer of 32 bits, or raise `Failed`."""
    if not isinstance(value, str):
        return int(value)
    found = _INTEGER.fullmatch(value)
    if found is None:
        raise _no(value, "integer")
    sign, digits = found.groups()
    # A longer text is out of range anyhow, and costly to convert.
    number = int(f"{sign}{digits or 0}") if len(digits) <= _MAX_DIGITS else LARGEST + 1
    if not SMALLEST <= number <= LARGEST:
        raise _no(value, "integer of 32 bits")
    return number


def to_boolean(value: Value) -> bool:
    """Return the value as a boolean, or raise `Failed`."""
    if not isinstance(value, str):
        return bool(value)
    match value.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise _no(value, "boolean")


def _no(value: str, wanted: str) -> Failed:
    return Failed("cast", f"{quoted(value)} is no {wanted}")


CASTS: Final[Mapping[type[Value], Callable[[Value], Value]]] = {
    str: to_text,
    int: to_integer,
    bool: to_boolean,
}


def shown(value: Value) -> str:
    """Return the value for people: strings in quotes, booleans and integers as they are."""
    return quoted(value) if isinstance(value, str) else to_text(value)


def quoted(text: str) -> str:
    """Return the text as a JSON string, cut where it is too long to be read."""
    return json.dumps(cut(text), ensure_ascii=False)


def cut(text: str) -> str:
    """Return the text, cut where it is too long to be read."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
