"""Writes down what becomes of events, a few microseconds each, and hands on what it has written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from broker.event import Event
from broker.observe.stories.format import (
    ACCEPTED,
    ATTEMPT,
    EPOCH,
    FLAGS,
    MICROSECOND,
    key_of,
    pack_head,
    pack_times,
)
from broker.observe.stories.writing import Writing
from broker.ports import (
    Accepted,
    Attempt,
    Buried,
    Claim,
    Deferred,
    Origin,
    Refusal,
    Settled,
    Step,
    Unwatched,
    Verdict,
)
from broker.ports.stories import Became

_DELIVERED: Final = FLAGS["delivered"]
_ALL: Final = 1 << 32

_BLOCK: Final = 2_000
"""Entries of a block."""

_LINGER: Final = 0.25
"""Seconds until a block is handed on that is not full: what a crash takes of the stories."""


class Recorder(Unwatched):
    """A `broker.ports.Watcher`. ``put`` takes what is written, and must not wait.

    Of events that are no ``sample``, a share from 0 to 1 that is found by their ids, it writes only
    what went wrong.
    """

    def __init__(self, put: Callable[[Writing], None], *, sample: float = 1.0) -> None:
        self._put = put
        self._bound = round(sample * _ALL)
        self._writing = Writing()
        self._timer: asyncio.TimerHandle | None = None

    # These two are on the way of every event, where each call costs more than what it does.

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        writing, now = self._writing, int(time.time() * 1e6)
        for event in events:
            attributes = event.attributes
            name = attributes["id"].encode()
            key = key_of(name)
            if key >= self._bound:
                continue
            writing.keys.append(key)
            writing.times.append(now)
            arrival = attributes["source"], attributes["type"], broker, origin.kind, origin.who
            told = writing.arrivals.get(arrival) if origin.cause is None else None
            told = told or writing.arrival(arrival, origin.cause)
            writing.rows += pack_head(ACCEPTED, now, len(name)) + told + name
        if self._timer is None or len(writing.times) >= _BLOCK:
            self._hand_on_in_time()

    def attempted(self, attempt: Attempt) -> None:
        writing, attributes, answer = self._writing, attempt.event.attributes, attempt.answer
        name = attributes["id"].encode()
        key = key_of(name)
        is_good = attempt.verdict is Verdict.DELIVERED
        if is_good:
            if key >= self._bound and attempt.number == 1:
                return
            writing.flags |= _DELIVERED
        began = int(attempt.began * 1e6)
        writing.keys.append(key)
        writing.times.append(began)
        source, of = attributes["source"], attributes["type"]
        way = source, of, attempt.trigger, attempt.to, attempt.destination
        plain: tuple[object, ...] | None = None
        if isinstance(answer, Accepted) and answer.reply is None and not answer.body:
            plain = answer.status, answer.note, attempt.trace, *answer.headers
        writing.rows += (
            pack_head(ATTEMPT, began, len(name))
            + pack_times(
                (attempt.accepted_at - EPOCH) // MICROSECOND,
                attempt.number,
                int(attempt.seconds * 1e6),
            )
            + (writing.ways.get(way) or writing.way(way))
            + (writing.answers.get(plain) or writing.answer(attempt, plain))
            + name
        )
        if self._timer is None or len(writing.times) >= _BLOCK:
            self._hand_on_in_time()

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
            self._hand_on_in_time()

    def flush(self) -> None:
        """Hand on what has been written until now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing.count:
            written, self._writing = self._writing, Writing()
            self._put(written)

    def _hand_on_in_time(self) -> None:
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
