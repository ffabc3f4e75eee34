"""Splits the text of an expression into tokens (CESQL 1.0, section 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from broker.cesql.refusals import CesqlSyntaxError

MAX_BYTES: Final = 8192
"""How long an expression may be, in UTF-8."""

KEYWORDS: Final = frozenset(
    {"AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE"},
)

_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*(?:
        ([A-Za-z0-9_]+)
      | ('(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")
      | (<=|>=|<>|!=|[-+*/%=<>(),])
      | (\Z)
      | (.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_KINDS: Final = ("", "word", "string", "symbol", "end", "invalid")
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_FITS_APOSTROPHES: Final = re.compile(r"(?:[^\\]|\\[^'])*+", re.DOTALL)


class Token(NamedTuple):
    """``kind`` is ``name``, ``integer``, ``string``, ``end``, ``invalid``, or the token itself.

    ``start`` and ``end`` are indexes of the text, from 0.
    """

    kind: str
    text: str
    start: int
    end: int


def tokenize(text: str) -> Iterator[Token]:
    """Yield the tokens of the text one by one, the last of which is of the kind ``end``.

    Raise `CesqlSyntaxError` if the text is too long, or cannot be encoded.
    """
    _check_encoding(text)
    for found in _TOKEN.finditer(text):
        group = found.lastindex or 0
        start, end = found.span(group)
        part, kind = text[start:end], _KINDS[group]
        if kind == "word":
            kind = _kind_of_word(part)
        elif kind == "symbol":
            kind = part
        yield Token(kind, part, start, end)
        if kind == "end":
            return


def _check_encoding(text: str) -> None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise CesqlSyntaxError(
            f"unexpected half of a surrogate pair (U+{ord(text[error.start]):04X})",
            column=error.start + 1,
            expected="a whole character",
        ) from None
    if len(encoded) > MAX_BYTES:
        fits = encoded[:MAX_BYTES].decode(errors="ignore")
        raise CesqlSyntaxError(
            f"the expression of {len(encoded)} bytes is too long",
            column=len(fits) + 1,
            expected=f"at most {MAX_BYTES} bytes of UTF-8",
        )


def unquoted(literal: str) -> str:
    """Return the text of a string, in which a backslash escapes the delimiter and nothing else."""
    delimiter, content = literal[0], literal[1:-1]
    if "\\" not in content:
        return content
    return _PAIR.sub(lambda pair: delimiter if pair[1] == delimiter else pair[0], content)


def in_quotes(text: str) -> str:
    """Return a string for a text that came from one.

    A text with a backslash just before one of the delimiters has to be written with the other.
    """
    delimiter = "'" if _FITS_APOSTROPHES.fullmatch(text) else '"'
    return delimiter + text.replace(delimiter, f"\\{delimiter}") + delimiter


def _kind_of_word(word: str) -> str:
    upper = word.upper()
    if upper in KEYWORDS:
        return upper
    return "integer" if word.isdigit() else "name"
