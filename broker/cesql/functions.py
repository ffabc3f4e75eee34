"""The functions that are built in (CESQL 1.0, section 3.5).

A body is called with values of its parameters' types, and returns a value of its result's, or
`Failed` with such a value within. Lengths and positions count characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.cesql.tree import Value
from broker.cesql.values import LARGEST, SMALLEST, Failed, quoted

MAX_TEXT: Final = 1 << 20
"""How many characters CONCAT and CONCAT_WS join at most: an event has 64 KiB of attributes."""

# What the Unicode character database calls White_Space; `str.strip` takes more.
_BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True, slots=True)
class Function:
    """One overload. ``rest`` is the type of any further arguments, None where there are none."""

    parameters: tuple[type[Value], ...]
    result: type[Value]
    body: Callable[..., Value | Failed]
    rest: type[Value] | None = None


def find(name: str, arguments: int) -> Function | None:
    """Return the function of that name, in upper case, that takes so many arguments."""
    for function in BUILT_IN.get(name, ()):
        fixed = len(function.parameters)
        if arguments == fixed or (arguments > fixed and function.rest is not None):
            return function
    return None


def itself(value: Value) -> Value:
    """Return the value. What INT, BOOL and STRING do lies in the casting of their argument."""
    return value


def _failed(message: str, value: Value) -> Failed:
    return Failed("functionEvaluation", message, value=value)


def _absolute(x: int) -> int | Failed:
    if x == SMALLEST:
        return Failed("math", f"ABS of {x} is no integer of 32 bits", value=LARGEST)
    return abs(x)


def _concat(*parts: str) -> str | Failed:
    return _joined("CONCAT", "", parts)


def _concat_with(delimiter: str, *parts: str) -> str | Failed:
    return _joined("CONCAT_WS", delimiter, parts)


def _joined(name: str, delimiter: str, parts: tuple[str, ...]) -> str | Failed:
    if sum(map(len, parts)) + len(delimiter) * len(parts) > MAX_TEXT:
        return _failed(f"{name} joins {MAX_TEXT} characters at most", "")
    return delimiter.join(parts)


def _left(x: str, length: int) -> str | Failed:
    return _negative("LEFT", length, x) if length < 0 else x[:length]


def _right(x: str, length: int) -> str | Failed:
    if length < 0:
        return _negative("RIGHT", length, x)
    return x[max(len(x) - length, 0) :]


def _substring(x: str, position: int, length: int = LARGEST) -> str | Failed:
    if length < 0:
        return _negative("SUBSTRING", length, "")
    if abs(position) > len(x):
        return _failed(f"SUBSTRING: {quoted(x)} has no position {position}", "")
    start = position - 1 if position > 0 else len(x) + position  # 0: nothing is left from there on
    return x[start : start + length]


def _negative(name: str, length: int, value: str) -> Failed:
    return _failed(f"{name}: the length {length} is negative", value)


def _lower(x: str) -> str:
    return x.lower()


def _upper(x: str) -> str:
    return x.upper()


def _trim(x: str) -> str:
    return x.strip(_BLANKS)


BUILT_IN: Final[Mapping[str, tuple[Function, ...]]] = {
    "ABS": (Function((int,), int, _absolute),),
    "BOOL": (Function((bool,), bool, itself),),
    "CONCAT": (Function((), str, _concat, rest=str),),
    "CONCAT_WS": (Function((str,), str, _concat_with, rest=str),),
    "INT": (Function((int,), int, itself),),
    "LEFT": (Function((str, int), str, _left),),
    "LENGTH": (Function((str,), int, len),),
    "LOWER": (Function((str,), str, _lower),),
    "RIGHT": (Function((str, int), str, _right),),
    "STRING": (Function((str,), str, itself),),
    "SUBSTRING": (
        Function((str, int), str, _substring),
        Function((str, int, int), str, _substring),
    ),
    "TRIM": (Function((str,), str, _trim),),
    "UPPER": (Function((str,), str, _upper),),
}
