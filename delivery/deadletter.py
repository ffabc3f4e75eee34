"""The event as a dead-letter sink gets it: the original, with why it was given up."""

from __future__ import annotations

import base64
import re
from typing import Final

from broker.event import Event, Kind
from broker.ports import Refusal

_ADDED: Final = frozenset(
    {
        "knativeerrordest",
        "knativeerrorcode",
        "knativeerrordata",
        "cemeshtrigger",
        "cemesherrorreason",
        "cemeshattempts",
    }
)
_KEPT_BODY: Final = 1024
_KEPT_REASON: Final = 1024
_BLANKS: Final = re.compile(r"\s+")


def dead_letter(event: Event, trigger: str, why: Refusal) -> Event:
    """Return ``event`` with Knative's error attributes and our own.

    Those of an earlier refusal, which an event that was dead-lettered before still carries,
    make way: together with these they would tell a story that did not happen.
    """
    added = {
        "knativeerrordest": _text(why.destination),
        "cemeshtrigger": trigger,
        "cemesherrorreason": _text(why.reason)[:_KEPT_REASON],
        "cemeshattempts": str(why.attempts),
    }
    kinds: dict[str, Kind] = {"cemeshattempts": "integer"}
    if why.status is not None:
        added["knativeerrorcode"] = str(why.status)
        kinds["knativeerrorcode"] = "integer"
    if why.body:
        added["knativeerrordata"] = base64.b64encode(why.body[:_KEPT_BODY]).decode("ascii")
    kept = {name: value for name, value in event.attributes.items() if name not in _ADDED}
    kept_kinds = {name: kind for name, kind in event.kinds.items() if name not in _ADDED}
    return Event({**kept, **added}, event.data, {**kept_kinds, **kinds}, event.hops, event.trace)


def _text(value: str) -> str:
    """Return ``value`` without the characters that no attribute may contain."""
    printable = "".join(each if each.isprintable() else " " for each in value)
    return _BLANKS.sub(" ", printable).strip()
