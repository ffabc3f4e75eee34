"""JSON of an API server, whose objects may be nested deeper than Python reads."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from broker.errors import UpstreamUnavailable

_DEEPEST: Final = 300
"""Levels that are read where there are too many: no kind means so many, and Python has 1,000."""

_TOO_DEEP: Final = f'"nested more than {_DEEPEST} levels deep, which is not read"'.encode()

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)

T = TypeVar("T")


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, path: str) -> T:
    """Return what ``path`` is answered. Raises `UpstreamUnavailable` where that makes no sense.

    One object that is nested without end holds up no other: where Python does not read that, a text
    that says so is in place of what is deeper than anything that is meant.
    """
    try:
        try:
            return decoder.decode(body)
        except RecursionError:
            return decoder.decode(shallow(body))
    except msgspec.DecodeError as error:
        raise UpstreamUnavailable(f"{path} is not answered as Kubernetes does: {error}") from None


def shallow(body: bytes) -> bytes:
    """Return the JSON with a text for each array and object that is too deep in it."""
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(body):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                if depth == _DEEPEST + 1:
                    kept += body[begin : token.start()], _TOO_DEEP
            case b"]" | b"}":
                if depth == _DEEPEST + 1:
                    begin = token.end()
                depth -= 1
    if depth <= _DEEPEST:
        kept.append(body[begin:])
    return b"".join(kept)
