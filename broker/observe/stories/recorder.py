"""Notes what becomes of events, a few microseconds each, and hands the notes on in bunches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from broker.event import Event
from broker.observe.stories.notes import AcceptedNote, AttemptNote, DecisionNote, Note
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

_BUNCH: Final = 2_000
"""Notes that are handed on at once."""

_LINGER: Final = 0.25
"""Seconds in which a bunch gathers that is not full: what a crash takes of the stories."""


class Recorder(Unwatched):
    """A `broker.ports.Watcher`. ``put`` takes the notes, and must not wait."""

    def __init__(self, put: Callable[[list[Note]], None]) -> None:
        self._put = put
        self._notes: list[Note] = []
        self._timer: asyncio.TimerHandle | None = None

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        attributes = [event.attributes for event in events]
        self._note(AcceptedNote(time.time(), broker, attributes, origin))

    def attempted(self, attempt: Attempt) -> None:
        self._note(
            AttemptNote(
                attempt.began,
                attempt.event.attributes,
                attempt.accepted_at,
                attempt.trigger,
                attempt.to,
                attempt.destination,
                attempt.number,
                attempt.seconds,
                attempt.answer,
                attempt.verdict,
            )
        )

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        became = _became(claim, step)
        if became is not None:
            what, delay, attempts, reason = became
            now, event = time.time(), claim.event.attributes
            self._note(DecisionNote(now, event, trigger, what, delay, attempts, reason))

    def flush(self) -> None:
        """Hand on what has been noted until now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._notes:
            notes, self._notes = self._notes, []
            self._put(notes)

    def _note(self, note: Note) -> None:
        self._notes.append(note)
        if len(self._notes) >= _BUNCH:
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
