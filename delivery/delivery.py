"""The state machine of a delivery: one claim, one step, and what is to become of the claim.

A step makes an attempt and decides; it moves no cursor and never sleeps. Waiting is the
channel's, so a delivery in backoff costs no memory here and survives a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from typing import Final, Literal

from broker.event import Event
from broker.ports import (
    UNWATCHED,
    Accepted,
    Answer,
    Attempt,
    Buried,
    Claim,
    Deferred,
    Emit,
    Ended,
    Outcome,
    Refusal,
    Refused,
    Settled,
    Sink,
    Step,
    Told,
    Tracer,
    Underway,
    Verdict,
    Watcher,
)
from broker.trigger import Trigger
from broker.urls import without_credentials
from delivery.admission import is_older
from delivery.attempts import answer_to
from delivery.backoff import Retries
from delivery.deadletter import dead_letter
from delivery.parking import Parking, skipped
from delivery.replies import Replies
from delivery.verdicts import judge

_log: Final = logging.getLogger("cemesh.delivery")

_DELIVERED: Final = Settled(outcome=Outcome.DELIVERED)

Begin = Callable[[Event, Callable[[Told], None]], Underway | None]
"""See `broker.ports.PromptSink`."""


def _unheard(_: Claim, __: Answer) -> None:
    pass


class Delivery:
    """Delivers the events of one trigger. Holds no state between steps.

    ``reply`` is the sink of what subscribers reply, which is emitted otherwise.
    ``heard`` is told what the subscriber, and nobody else, answered, as soon as it has: of each
    refusal once, however many events it is of. ``watch`` is told of attempts and replies, and
    ``tracer``, where there is one, gives them spans.
    """

    def __init__(
        self,
        trigger: Trigger,
        *,
        subscriber: Sink,
        dead_letter: Sink | None,
        emit: Emit,
        reply: Sink | None = None,
        watch: Watcher = UNWATCHED,
        tracer: Tracer | None = None,
        heard: Callable[[Claim, Answer], None] = _unheard,
        parking: Parking | None = None,
    ) -> None:
        self._trigger = trigger
        self._subscriber = subscriber
        self._begin: Begin | None = getattr(subscriber, "begin", None)
        self._dead_letter = dead_letter
        self._replies = Replies(trigger, emit, reply, watch=watch, tracer=tracer)
        self._watch = watch
        self._tracer = tracer
        self._heard = heard
        self._parking = parking or Parking(trigger)
        self._max_age = trigger.delivery.limits.max_age
        self._retries = Retries(trigger.delivery)

    async def step(self, claim: Claim) -> Step:
        """Make the claim's next attempt and return what is to be done with the claim.

        A subscriber that is given up and the first attempt at the dead-letter sink are one
        step, and so are an event that is too old and that. Cancelled, it has changed nothing: the
        claim may be released and tried again.
        """
        if claim.condemned is not None:
            if self._parking.has(claim):
                return await self._look_at_parked(claim, claim.condemned)
            return await self._bring_to_dead_letter(claim, claim.attempts, claim.condemned)
        if self._max_age is not None and is_older(claim, self._max_age):
            why = self._too_old(claim, self._max_age)
            return await self._bring_to_dead_letter(claim, 0, why)
        sent = claim.event if self._tracer is None else self._tracer.begin(claim.event)
        started = time.monotonic()
        return await self._await(claim, sent, started, partial(self._subscriber.attempt, sent))

    def begin(self, claim: Claim, done: Callable[[Ended], None]) -> Underway | None:
        """Begin the claim's next attempt without a task, or return None where `step` has to do it.

        ``done`` is told the step, or what comes to it where that takes more than an answer.
        """
        if self._begin is None or claim.condemned is not None:
            return None
        if self._max_age is not None and is_older(claim, self._max_age):
            return None
        sent = claim.event if self._tracer is None else self._tracer.begin(claim.event)
        try:
            return self._begin(sent, partial(self._answered, claim, sent, time.monotonic(), done))
        except Exception:  # noqa: BLE001 - as in `answer_to`
            event = claim.event
            extra = {"trigger": self._trigger.key, "event_id": event.id, "source": event.source}
            _log.exception("sink raised", extra=extra)
            return None

    def _answered(
        self,
        claim: Claim,
        sent: Event,
        started: float,
        done: Callable[[Ended], None],
        answer: Told,
    ) -> None:
        if callable(answer):
            done(partial(self._await, claim, sent, started, answer))
            return
        if isinstance(answer, Accepted) and answer.reply is None:
            try:
                self._heard(claim, answer)
                self._observe_subscriber(claim, sent, started, answer)
            except Exception as error:  # noqa: BLE001 - which ends the run there
                done(partial(_fail, error))
            else:
                done(_DELIVERED)
            return
        done(partial(self._conclude, claim, sent, started, answer))

    async def _await(
        self, claim: Claim, sent: Event, started: float, attempt: Callable[[], Awaitable[Answer]]
    ) -> Step:
        answer = await answer_to(self._trigger.key, sent, attempt)
        return await self._conclude(claim, sent, started, answer)

    async def _conclude(self, claim: Claim, sent: Event, started: float, answer: Answer) -> Step:
        """Return the step that this answer of the subscriber comes to."""
        number = claim.attempts + 1
        if isinstance(answer, Accepted) or not answer.shared:
            self._heard(claim, answer)
        if isinstance(answer, Accepted) and answer.reply is not None:
            answer = await self._replies.take(claim.event, sent, answer.reply) or answer
        self._observe_subscriber(claim, sent, started, answer)
        if isinstance(answer, Accepted):
            return _DELIVERED
        if answer.untried or self._to_be_retried(answer, number):
            delay = self._retries.wait(number, answer.retry_after)
            made = claim.attempts if answer.untried else number
            return Deferred(delay=delay, attempts=made, condemned=None)
        refusal = Refusal(
            destination=self._trigger.subscriber.url,
            reason=answer.reason,
            status=answer.status,
            body=answer.body,
            attempts=number,
        )
        if self._parking.takes(claim):
            return self._parking.park(claim, refusal)
        return await self._bring_to_dead_letter(claim, 0, refusal)

    async def _look_at_parked(self, claim: Claim, why: Refusal) -> Step:
        """Do with a parked claim what is ordered; one that grows too old is given up, too."""
        if self._max_age is not None and is_older(claim, self._max_age):
            self._parking.leave(claim)
            too_old = f"{why.reason}; parked, and now {self._too_old(claim, self._max_age).reason}"
            return await self._bring_to_dead_letter(claim, 0, replace(why, reason=too_old))
        order = self._parking.look(claim, why)
        if isinstance(order, Deferred):
            return order
        if order.verb == "retry":
            return self._parking.retry(claim, why, order)
        step = await self._bring_to_dead_letter(claim, 0, skipped(why, order))
        self._parking.skip(claim, why, order)
        return step

    def _too_old(self, claim: Claim, max_age: timedelta) -> Refusal:
        since = claim.accepted_at.astimezone(UTC).isoformat(timespec="seconds")
        return Refusal(
            destination=self._trigger.subscriber.url,
            reason=f"older than {max_age.total_seconds():g} s: it was accepted at {since}",
            status=None,
            body=b"",
            attempts=claim.attempts,
        )

    async def _bring_to_dead_letter(self, claim: Claim, attempts: int, why: Refusal) -> Step:
        target = self._trigger.delivery.dead_letter
        if self._dead_letter is None or target is None:
            return Buried(why=why)
        number = attempts + 1
        sent = claim.event if self._tracer is None else self._tracer.begin(claim.event)
        letter = dead_letter(sent, self._trigger.key, why)
        started = time.monotonic()
        answer = await answer_to(
            self._trigger.key, letter, partial(self._dead_letter.attempt, letter)
        )
        self._observe(claim, sent, "dead-letter sink", target.url, number, started, answer)
        if isinstance(answer, Accepted):
            return Settled(outcome=Outcome.DEAD_LETTERED, why=why)
        if self._to_be_retried(answer, number):
            delay = self._retries.wait(number, answer.retry_after)
            return Deferred(delay=delay, attempts=number, condemned=why)
        sink = without_credentials(target.url)
        also = f"the dead-letter sink {sink} failed too, after {number} attempts"
        return Buried(why=replace(why, reason=f"{why.reason}; {also}: {answer.reason}"))

    def _to_be_retried(self, refused: Refused, number: int) -> bool:
        return judge(refused) is Verdict.RETRY and not self._retries.exhausted(number)

    def _observe_subscriber(
        self, claim: Claim, sent: Event, started: float, answer: Answer
    ) -> None:
        url, number = self._trigger.subscriber.url, claim.attempts + 1
        self._observe(claim, sent, "subscriber", url, number, started, answer)

    def _observe(
        self,
        claim: Claim,
        sent: Event,
        to: Literal["subscriber", "dead-letter sink"],
        destination: str,
        number: int,
        started: float,
        answer: Answer,
    ) -> None:
        seconds = time.monotonic() - started
        verdict = judge(answer)
        self._watch.attempted(
            Attempt(
                trigger=self._trigger.key,
                broker=self._trigger.broker,
                event=claim.event,
                accepted_at=claim.accepted_at,
                to=to,
                destination=destination,
                number=number,
                began=time.time() - seconds,
                seconds=seconds,
                answer=answer,
                verdict=verdict,
                exhausted=verdict is Verdict.RETRY and self._is_last(to, number, answer),
                trace=None if self._tracer is None else sent.trace,
            )
        )

    def _is_last(self, to: str, number: int, answer: Answer) -> bool:
        if to == "subscriber" and isinstance(answer, Refused) and answer.untried:
            return False  # it was no attempt
        return self._retries.exhausted(number)


async def _fail(error: Exception) -> Step:
    raise error
