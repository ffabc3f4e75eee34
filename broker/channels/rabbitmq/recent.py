"""The stamps of what a trigger was done with last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from broker.channels.rabbitmq.stamps import accepted_at

_KEPT: Final = 1_000


class Recent:
    """The last 1,000 stamps: should one of these messages come once more, it is known."""

    def __init__(self, stamps: Iterable[str] = ()) -> None:
        self._stamps: dict[str, None] = {}
        for each in stamps:
            self.add(each)

    def __contains__(self, stamp: str) -> bool:
        return stamp in self._stamps

    def add(self, stamp: str) -> None:
        self._stamps[stamp] = None
        if len(self._stamps) > _KEPT:
            del self._stamps[next(iter(self._stamps))]

    def since(self, at: int) -> Sequence[str]:
        """Return those of events that were accepted then or later (microseconds since 1970)."""
        return [stamp for stamp in self._stamps if (accepted_at(stamp) or 0) >= at]
