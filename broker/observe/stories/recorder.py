"""Writes down what becomes of events, a few microseconds each, and hands on what it has written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from broker.event import Event
from broker.observe.stories.writing import Writing
from broker.ports import (
    Attempt,
    Buried,
    Claim,
    Deferred,
    Origin,
    Refusal,
    Settled,
    Step,
    Unwatched,
)
from broker.ports.stories import Became

_BLOCK: Final = 2_000
"""Entries of a block."""

_LINGER: Final = 0.25
"""Seconds until a block is handed on that is not full: what a crash takes of the stories."""


class Recorder(Unwatched):
    """A `broker.ports.Watcher`. ``put`` takes what is written, and must not wait."""

    def __init__(self, put: Callable[[Writing], None], *, sample: float = 1.0) -> None:
        self._put = put
        self._sample = sample
        self._writing = Writing(sample)
        self._timer: asyncio.TimerHandle | None = None

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        now = time.time()
        for event in events:
            self._writing.accepted(now, broker, event, origin)
        self._written()

    def attempted(self, attempt: Attempt) -> None:
        self._writing.attempt(attempt)
        self._written()

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        became = _became(claim, step)
        if became is not None:
            what, delay, attempts, reason = became
            self._writing.decision(
                time.time(),
                claim.event,
                trigger,
                what,
                delay=delay,
                attempts=attempts,
                reason=reason,
            )
            self._written()

    def flush(self) -> None:
        """Hand on what has been written until now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing.count:
            written, self._writing = self._writing, Writing(self._sample)
            self._put(written)

    def _written(self) -> None:
        if self._writing.count >= _BLOCK:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self.flush)


def _became(claim: Claim, step: Step) -> tuple[Became, timedelta | None, int, str | None] | None:
    """Return what the step makes of the claim, how long it waits, the attempts, and why.

    None where that is nothing new: it is delivered, which the attempt tells, or still parked.
    """
    match step:
        case Deferred(condemned=None, delay=delay, attempts=attempts):
            if claim.condemned is not None:
                return "retried", None, attempts, None
            return "waits", delay, attempts, None
        case Deferred(condemned=Refusal() as why, attempts=0):
            return ("parked", None, why.attempts, why.reason) if claim.condemned is None else None
        case Deferred(condemned=Refusal() as why, delay=delay, attempts=attempts):
            return "waits", delay, attempts, why.reason
        case Buried(why=why):
            return "buried", None, why.attempts, why.reason
        case Settled(why=Refusal() as why):
            return "dead-lettered", None, why.attempts, why.reason
        case _:
            return None
