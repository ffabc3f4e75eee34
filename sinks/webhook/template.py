"""Texts with places that an event fills: ``{type}``, ``{data.order.total}``, ``{subject|none}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.errors import did_you_mean
from broker.event import Event
from sinks.webhook.payload import PAYLOAD, Lacking, Named, Raw

_PLACE: Final = re.compile(
    r"\{(?P<twice>\{)?(?P<name>[A-Za-z_][\w-]*(?:\.[\w-]+)*)(?:\|(?P<default>[^{}|\n]*))?\}(?(twice)\})"
)
"""Any other brace is text, so that JSON can be written as it is."""

_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True, slots=True)
class _Place:
    """``default`` is the text of the template that stands for what the event does not have.

    ``quoted`` is whether it is within a string of JSON.
    """

    name: tuple[str, ...]
    default: str | None
    quoted: bool


class Template:
    """A text with places, which is read once.

    Where it is ``of_json``, what it makes is JSON: what is put within a string is escaped as that
    needs, what is put elsewhere is a value. In other texts ``escape`` is what values go through.
    Raises `ValueError`, which says what is wrong with the text.
    """

    def __init__(
        self, text: str, *, of_json: bool = False, escape: Callable[[str], str] = str
    ) -> None:
        self._of_json = of_json
        self._escape = escape
        self._pieces = _read(text, of_json=of_json)
        if of_json:
            self._try()

    def of(self, event: Event) -> str:
        """Return the text for that event. Raises `Lacking`."""
        named = Named(event)
        return "".join(
            each if isinstance(each, str) else self._value(each, named) for each in self._pieces
        )

    def _value(self, place: _Place, named: Named) -> str:
        try:
            value = named.value(place.name)
            is_value = self._of_json and not place.quoted
            if value == "null" and isinstance(value, Raw) and not is_value:
                raise Lacking(f"the payload's '{'.'.join(place.name)}' is null")
        except Lacking:
            if place.default is None:
                raise
            return place.default
        if not self._of_json:
            return self._escape(value)
        if is_value and isinstance(value, Raw):
            return value
        text = json.dumps(value, ensure_ascii=False)
        return text if is_value else text[1:-1]

    def _try(self) -> None:
        """Raise `ValueError` unless JSON comes of it, with the defaults and without."""
        tried = ["".join(map(_placed, self._pieces)), "".join(map(_defaulted, self._pieces))]
        for text in tried:
            try:
                json.loads(text)
            except ValueError as error:
                raise ValueError(f"makes no JSON: {error}") from None


def _read(text: str, *, of_json: bool) -> list[str | _Place]:
    pieces: list[str | _Place] = []
    end = 0
    quoted = False
    for match in _PLACE.finditer(text):
        between = text[end : match.start()]
        quoted ^= of_json and _quotes(between) % 2 == 1
        end = match.end()
        if match["twice"]:
            pieces += [between, match[0][1:-1]]
        else:
            name = tuple(match["name"].split("."))
            _check(name)
            pieces += [between, _Place(name, match["default"], quoted)]
    return [*pieces, text[end:]]


def _quotes(text: str) -> int:
    """Return how often a string begins or ends in a piece of JSON."""
    return len(re.sub(r"\\.", "", text).split('"')) - 1


def _check(name: tuple[str, ...]) -> None:
    first, *parts = name
    if first == PAYLOAD:
        return
    shown = "{" + ".".join(name) + "}"
    if parts:
        raise ValueError(f"has {shown}, and only the payload has parts: {{data.…}}")
    if not _ATTRIBUTE.fullmatch(first):
        hint = did_you_mean(first.lower(), ["id", "source", "type", "subject", "time"])
        raise ValueError(f"has {shown}, which is no name of an attribute{hint}")


def _placed(piece: str | _Place) -> str:
    return piece if isinstance(piece, str) else ("x" if piece.quoted else "null")


def _defaulted(piece: str | _Place) -> str:
    if isinstance(piece, str) or piece.default is None:
        return _placed(piece)
    return piece.default
