"""Finds the parked events that an operator means."""

from __future__ import annotations

from collections.abc import Sequence

from broker.errors import NotParked
from broker.status import Parked


def meant(parked: Sequence[Parked], *, id: str | None, source: str | None) -> Sequence[Parked]:
    """Return the one with that id, and of that ``source`` where it is given; all without an id.

    Raises `NotParked` where there is none, or where the source would have to tell which.
    """
    if id is None:
        return parked
    found = [each for each in parked if each.id == id and source in (None, each.source)]
    if not found:
        of = "" if source is None else f" of {source}"
        raise NotParked(f"no event {id}{of} is parked here: ask the dispatcher that shows it")
    if len(found) > 1:
        sources = ", ".join(sorted(each.source for each in found))
        raise NotParked(f"several events {id} are parked, so name the source: {sources}")
    return found
