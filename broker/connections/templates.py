"""Texts of a ``spec`` with attributes of the event in them, in braces: ``orders/{type}``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")


def checked_template(text: str) -> str:
    """Return the template; raise `ValueError` where what is in braces is no attribute's name."""
    for name in _PLACEHOLDER.findall(text):
        if not _ATTRIBUTE.fullmatch(name) or name == "data":
            raise ValueError(f"'{{{name}}}' is not the name of an attribute: a-z and 0-9")
    if set("{}") & set(literal_text(text)):
        raise ValueError("has a brace that belongs to no {attribute}")
    return text


def names_in(template: str) -> frozenset[str]:
    """Return the names of the attributes that the template has in it."""
    return frozenset(_PLACEHOLDER.findall(template))


def literal_text(template: str) -> str:
    """Return what is the same for all events: the template without its attributes."""
    return _PLACEHOLDER.sub("", template)


def filled(template: str, value: Callable[[str], str | None], *, made: str) -> str:
    """Return the template with the value of each attribute, by its name, in its place.

    Raises `ValueError` where one has none: then the event has not what is ``made`` of it.
    """

    def found(placeholder: re.Match[str]) -> str:
        text = value(placeholder[1])
        if text is None:
            raise ValueError(f"the event has no '{placeholder[1]}', which {made} is made of")
        return text

    return _PLACEHOLDER.sub(found, template)
