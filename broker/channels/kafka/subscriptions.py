"""Who is subscribed in this process, and for which events: the same at every partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from broker.filters import Filter, FilterIndex


class Filtered(Protocol):
    @property
    def filter(self) -> Filter: ...


C = TypeVar("C", bound=Filtered)


class Subscriptions(Generic[C]):
    """The cursor of each trigger, and an index of their filters."""

    def __init__(self) -> None:
        self._cursors: dict[str, C] = {}
        self._index = FilterIndex()

    def put(self, trigger: str, cursor: C) -> C | None:
        """Subscribe the trigger; return the cursor whose place this one takes."""
        former = self._cursors.get(trigger)
        self._cursors[trigger] = cursor
        self._index.put(trigger, cursor.filter)
        return former

    def discard(self, trigger: str) -> None:
        del self._cursors[trigger]
        self._index.discard(trigger)

    def get(self, trigger: str) -> C | None:
        return self._cursors.get(trigger)

    def items(self) -> Iterable[tuple[str, C]]:
        return self._cursors.items()

    def matching(self, attributes: Mapping[str, str]) -> Sequence[str]:
        """Return the triggers that events with these attributes are for."""
        return self._index.matching(attributes)
