"""Says what is wrong with the text of an expression, where, and what could stand there."""

from __future__ import annotations

from typing import Final

from broker.errors import CemeshError
from broker.event import shown

# What people write who come from other languages, and what CESQL has in its place.
_FOREIGN: Final = {"&": "AND", "|": "OR", "!": "NOT, or != with both characters together"}


class CesqlSyntaxError(CemeshError):
    """The text is no CESQL expression.

    ``column``    where it goes wrong, in characters, from 1.
    ``expected``  what could stand there.
    """

    def __init__(self, problem: str, *, column: int, expected: str) -> None:
        super().__init__(f"{problem} at column {column}; expected {expected}")
        self.column = column
        self.expected = expected


def unexpected(kind: str, text: str, *, column: int, expected: str) -> CesqlSyntaxError:
    """Return the refusal of a token of this kind where something else is expected."""
    match kind:
        case "end":
            problem = "unexpected end"
        case "string":
            problem = f"unexpected {shown(text)}"
        case "invalid" if text in {"'", '"'}:
            problem, expected = "unclosed string", f"{text} at its end"
        case "invalid":
            code = "" if text.isascii() and text.isprintable() else f" (U+{ord(text):04X})"
            problem, expected = f"unexpected {text!r}{code}", _FOREIGN.get(text, expected)
        case _:
            problem = f"unexpected '{shown(text)}'"
    return CesqlSyntaxError(problem, column=column, expected=expected)
