"""Several who watch as one."""

from __future__ import annotations

from collections.abc import Sequence

from broker.event import Event
from broker.ports import Attempt, Claim, Origin, Reason, Step, Watcher


class Watchers:
    """A `Watcher` that tells all of these."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        for each in self._watchers:
            each.accepted(broker, events, origin, seconds)

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        for each in self._watchers:
            each.refused(broker, status, reason)

    def attempted(self, attempt: Attempt) -> None:
        for each in self._watchers:
            each.attempted(attempt)

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        for each in self._watchers:
            each.decided(trigger, claim, step)
