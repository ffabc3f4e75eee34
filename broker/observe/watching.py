"""Several who watch as one, none of whom can hold an event up."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from broker.event import Event
from broker.ports import Attempt, Claim, Origin, Reason, Step, Watcher

_log: Final = logging.getLogger("cemesh.mesh")

_TELL: Final = 60.0
"""Seconds between two lines about one that fails: it may at every event."""


class Watchers:
    """A `Watcher` that tells all of these. What one of them raises is logged, and no more.

    A metric or a story that is wrong is no reason to deliver an event twice, or not.
    """

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers
        self._told: dict[Watcher, float] = {}

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        for each in self._watchers:
            try:
                each.accepted(broker, events, origin, seconds)
            except Exception:  # noqa: BLE001 - see above
                self._failed(each)

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        for each in self._watchers:
            try:
                each.refused(broker, status, reason)
            except Exception:  # noqa: BLE001 - see above
                self._failed(each)

    def attempted(self, attempt: Attempt) -> None:
        for each in self._watchers:
            try:
                each.attempted(attempt)
            except Exception:  # noqa: BLE001 - see above
                self._failed(each)

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        for each in self._watchers:
            try:
                each.decided(trigger, claim, step)
            except Exception:  # noqa: BLE001 - see above
                self._failed(each)

    def _failed(self, watcher: Watcher) -> None:
        now = time.monotonic()
        if now >= self._told.get(watcher, now):
            self._told[watcher] = now + _TELL
            _log.exception("watching failed", extra={"what": type(watcher).__name__})
