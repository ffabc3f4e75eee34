"""How a source fares: what operators see of it, and what the log says."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from types import TracebackType
from typing import Final

from broker.status import SourceState, SourceStatus
from broker.trigger import Source

_log: Final = logging.getLogger("cemesh.sources")

_LASTS: Final = 10.0
"""Seconds after which a run counts as one that works, also where it has not told."""


class Health:
    """How a source fares, over all its runs; what changes is logged."""

    def __init__(self, name: str) -> None:
        self.was_well = False
        self._name = name
        self._standing_by = False
        self._running_since: float | None = None
        self._ended: str | None = None
        self._is_upstream = False  # what ended it
        self._upstream: str | None = None
        self._store: str | None = None
        self._lag: tuple[int | None, datetime | None] = (None, None)
        self._restarts = 0
        self._emitted = 0
        self._rejected = 0

    def status(self, source: Source) -> SourceStatus:
        state, error = self._told()
        events, since = self._lag
        return SourceStatus(
            kind=source.kind,
            key=source.key,
            broker=source.broker,
            state=state,
            error=error,
            emitted=self._emitted,
            rejected=self._rejected,
            restarts=self._restarts,
            lag=events,
            lag_since=since,
        )

    def _told(self) -> tuple[SourceState, str | None]:
        if self._standing_by:
            return "standby", None
        wrong = self._upstream or self._store
        if wrong is not None:
            return "unhealthy", wrong
        # One that failed has not recovered because it was begun again.
        if self._ended is not None and not (self.was_well or self._lasts()):
            return "unhealthy" if self._is_upstream else "restarting", self._ended
        return "running", None

    def _lasts(self) -> bool:
        return self._running_since is not None and time.monotonic() - self._running_since > _LASTS

    # --- the life of a run -----------------------------------------------------------------

    def stands_by(self) -> None:
        self._standing_by = True

    def runs(self) -> None:
        self._standing_by = False
        self._running_since = time.monotonic()

    def ended(self, why: str, *, fault: Exception | None = None, upstream: bool = False) -> None:
        """Note that a run has ended, by its ``fault``, or by what is no fault of its.

        ``upstream``: by what it reads from.
        """
        self._standing_by = self.was_well = False
        self._running_since = self._upstream = self._store = None
        self._lag = (None, None)
        self._ended, self._is_upstream = why, upstream
        self._restarts += 1
        extra = {"source": self._name, "why": why}
        if fault is None:
            _log.warning("source interrupted", extra=extra)
        else:
            told = (type(fault), fault, _of_the_plugin(fault.__traceback__))
            _log.error("source failed", extra=extra, exc_info=told)

    # --- what a run tells ------------------------------------------------------------------

    def upstream(self, why: str | None) -> None:
        if why is None:
            self.was_well = True
        self._upstream = self._changed(self._upstream, why)

    def store(self, why: str | None) -> None:
        self._store = self._changed(self._store, why)

    def _changed(self, before: str | None, why: str | None) -> str | None:
        if why is not None and before is None:
            _log.warning("source unhealthy", extra={"source": self._name, "why": why})
        elif why is None and before is not None:
            _log.info("source healthy", extra={"source": self._name})
        return why

    def lag(self, events: int | None, since: datetime | None) -> None:
        self._lag = (events, since)

    def emitted(self, count: int) -> None:
        self._emitted += count
        self.was_well = True

    def rejected(self, id: str, why: str) -> None:
        self._rejected += 1
        extra = {"source": self._name, "event_id": id, "why": why}
        _log.warning("rejected", extra=extra)


def _of_the_plugin(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback without what the mesh itself did before."""
    while traceback is not None and traceback.tb_next is not None:
        if not traceback.tb_frame.f_globals.get("__name__", "").startswith("broker."):
            break
        traceback = traceback.tb_next
    return traceback
