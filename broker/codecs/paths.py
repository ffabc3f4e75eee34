"""Reads single values out of the JSON of others."""

from __future__ import annotations

import msgspec

from broker.ports import Json


def json_of(text: bytes) -> Json:
    """Return the JSON, or None where it is none."""
    try:
        found: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found


def text_at(json: Json, path: str) -> str | None:
    """Return the string or the number at a path such as ``data.object.id`` or ``items.0.id``.

    None where there is neither, or an empty string.
    """
    for step in path.split("."):
        match json:
            case dict():
                json = json.get(step)
            case list() if step.isdecimal() and int(step) < len(json):
                json = json[int(step)]
            case _:
                return None
    match json:
        case bool():
            return None
        case str():
            return json or None
        case int() | float():
            return str(json)
        case _:
            return None
