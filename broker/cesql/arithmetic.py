"""Arithmetic on integers of 32 bits (CESQL 1.0, sections 3.1 and 3.4.2).

Every function returns an integer in that range, or raises `Failed` with a math error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from broker.cesql.values import LARGEST, SMALLEST, Failed


def negative(x: int) -> int:
    """Return ``-x``."""
    return _checked(-x, f"-({x})")


def _sum(x: int, y: int) -> int:
    return _checked(x + y, f"{x} + {y}")


def _difference(x: int, y: int) -> int:
    return _checked(x - y, f"{x} - {y}")


def _product(x: int, y: int) -> int:
    return _checked(x * y, f"{x} * {y}")


def _quotient(x: int, y: int) -> int:
    """Return the quotient, rounded towards 0."""
    quotient = abs(x) // abs(_divisor(y))
    return _checked(quotient if (x < 0) == (y < 0) else -quotient, f"{x} / {y}")


def _remainder(x: int, y: int) -> int:
    """Return the remainder, which has the sign of ``x``."""
    remainder = abs(x) % abs(_divisor(y))
    return -remainder if x < 0 else remainder


def _divisor(y: int) -> int:
    if y == 0:
        raise Failed("math", "division by zero")
    return y


def _checked(result: int, what: str) -> int:
    if SMALLEST <= result <= LARGEST:
        return result
    raise Failed("math", f"{what} is no integer of 32 bits")


ARITHMETIC: Final[Mapping[str, Callable[[int, int], int]]] = {
    "+": _sum,
    "-": _difference,
    "*": _product,
    "/": _quotient,
    "%": _remainder,
}
