"""What others tell of what is no CloudEvent, as far as the attributes of an event can have it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from broker.errors import InvalidEvent
from broker.event import check_attributes

_NOT_IN_A_NAME: Final = re.compile("[^a-z0-9]")
_TIMES: Final = range(253_402_300_800_000)  # up to the year 9999


def time_of(milliseconds: int) -> str | None:
    """Return the timestamp, since 1970, or None where it is one that nobody can mean."""
    if milliseconds not in _TIMES:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(value: bytes | None) -> str | None:
    """Return the text, or None where there is none, or it is not UTF-8."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def named(prefix: str, headers: Iterable[tuple[str, str | None]]) -> dict[str, str | None]:
    """Return headers by the attributes that they are in: in lower case, behind the prefix.

    Without what no name of an attribute can have, and so without those that have nothing else; of
    several that come to the same the first.
    """
    found: dict[str, str | None] = {}
    for name, value in headers:
        kept = _NOT_IN_A_NAME.sub("", name.lower())
        if kept:
            found.setdefault(f"{prefix}{kept}", value)
    return found


def fitting(identity: Mapping[str, str], found: Mapping[str, str | None]) -> dict[str, str]:
    """Return ``identity``, that of a valid event, and what of ``found`` such an event can have."""
    return {
        **identity,
        **{
            name: text
            for name, text in found.items()
            if text is not None and are_valid({**identity, name: text})
        },
    }


def are_valid(attributes: Mapping[str, str]) -> bool:
    """Return whether an event can have these attributes."""
    try:
        check_attributes(attributes)
    except InvalidEvent:
        return False
    return True
