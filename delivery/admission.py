"""The gate's bookkeeping: when the next attempt of a trigger may begin, and why not yet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from broker.policy import Limits
from broker.ports import Answer, Claim, Refused
from broker.status import RUNNING, TriggerState
from broker.trigger import Trigger
from delivery.backoff import LONGEST_WAIT
from delivery.circuit import Circuit
from delivery.pace import Pace
from delivery.verdicts import GONE, tells_of_outage

_NOW: Final = float("-inf")
_LATER: Final = float("inf")
_NO_TURN: Final = -1


class Admission:
    """What is under way for one trigger, and what its subscriber has answered.

    All times are seconds by one clock, unless they are dates. An event on its way to the
    dead-letter sink waits for room alone: what the subscriber does is nothing to it.

    ``is_free`` is whether any attempt may begin, and the one that ended last succeeded. Then as
    good as nothing is done for one: the rest of the bookkeeping takes four times as long.
    """

    def __init__(self, trigger: Trigger, *, share: Callable[[], float]) -> None:
        policy = trigger.delivery
        limits = policy.limits
        self._max_age = limits.max_age
        self._max_bytes = limits.bytes_in_flight
        self._longest_hold = min(policy.retry_after_max, LONGEST_WAIT).total_seconds()
        self._pace = None if limits.rate is None else Pace(limits.rate)
        self._circuit: Circuit | None = None
        if policy.breaker is not None:
            self._circuit = Circuit(policy.breaker, full=trigger.window, share=share)
        self._turns: dict[Claim, int] = {}  # of all that are under way
        self._bytes = 0
        self._held_until = _NOW
        self._held_why = ""
        self._paused: str | None = None
        self._is_limited = limits != Limits()
        self.is_free = not self._is_limited
        self._turn = 0 if self._circuit is not None else _NO_TURN

    # --- attempts --------------------------------------------------------------------------

    def ready_at(self, claim: Claim) -> float:
        """Return when the attempt may begin; never where something has to happen before that."""
        if self._max_bytes is not None and 0 < self._bytes > self._max_bytes - _size(claim):
            return _LATER
        if claim.condemned is not None:
            return _NOW
        if self._paused is not None:
            return _LATER
        at = self._held_until
        if self._circuit is not None:
            at = max(at, self._circuit.ready_at)
        if self._pace is not None and not self._is_expired(claim):
            at = max(at, self._pace.ready_at)
        return at

    def begin(self, claim: Claim, now: float) -> None:
        """Count an attempt that begins; none is made of an event that is too old."""
        if self.is_free:
            self._turns[claim] = self._turn
            return
        self._turns[claim] = _NO_TURN
        if claim.condemned is None and not self._is_expired(claim):
            self._turns[claim] = self._turn
            if self._pace is not None:
                self._pace.begin(now)
            if self._circuit is not None:
                self._circuit.begin()
        if self._max_bytes is not None:
            self._bytes += _size(claim)

    def end(self, claim: Claim) -> None:
        """Count an attempt as over, whether it was made or not."""
        turn = self._turns.pop(claim)
        if self.is_free:
            return
        if self._circuit is not None:
            self._circuit.end(turn)
        if self._max_bytes is not None:
            self._bytes -= _size(claim)

    def end_all(self) -> None:
        """Count whatever is under way as over."""
        for claim in [*self._turns]:
            self.end(claim)

    def _is_expired(self, claim: Claim) -> bool:
        return self._max_age is not None and is_older(claim, self._max_age)

    # --- what is heard and said ------------------------------------------------------------

    def heard(self, claim: Claim, answer: Answer, now: float) -> bool:
        """Note what the subscriber answered; return whether `state` may be another for it."""
        circuit = self._circuit
        had_recovered = circuit is None or circuit.is_recovered
        untried = isinstance(answer, Refused) and answer.untried
        if circuit is not None and not untried:
            turn = self._turns.get(claim, _NO_TURN)
            if isinstance(answer, Refused) and tells_of_outage(answer):
                circuit.failed(turn, answer.reason, now)
            else:
                circuit.succeeded(turn)
        if isinstance(answer, Refused):
            self._heed(answer, now)
        self.weigh(now)
        return isinstance(answer, Refused) or not had_recovered

    def _heed(self, refused: Refused, now: float) -> None:
        if refused.retry_after is not None:
            until = now + min(refused.retry_after.total_seconds(), self._longest_hold)
            if until > max(now, self._held_until):
                self._held_until, self._held_why = until, refused.reason
        if refused.status == GONE:
            self._paused = refused.reason

    def pause(self, why: str, now: float) -> None:
        """Let no attempt begin until `resume`."""
        self._paused = why
        self.weigh(now)

    def resume(self, now: float) -> None:
        """Let attempts begin now, few at once where they had failed."""
        self._paused, self._held_until = None, _NOW
        if self._circuit is not None:
            self._circuit.resume()
        self.weigh(now)

    def weigh(self, now: float) -> None:
        """Find out whether it is free now."""
        circuit = self._circuit
        if circuit is not None:
            self._turn = circuit.turn
        is_shut = self._paused is not None or now < self._held_until
        is_calm = circuit is None or circuit.is_calm
        self.is_free = is_calm and not is_shut and not self._is_limited

    def state(self, now: float) -> TriggerState:
        """Return what the trigger is doing."""
        if self._paused is not None:
            return TriggerState(phase="paused", why=self._paused)
        circuit = self._circuit
        if circuit is not None and circuit.is_open:
            until = max(circuit.until, self._held_until)
            if now < until:
                return TriggerState(phase="paused", why=circuit.why, until=_date(until, now))
            return TriggerState(phase="probing", why=circuit.why)
        if now < self._held_until:
            until = self._held_until
            return TriggerState(phase="held", why=self._held_why, until=_date(until, now))
        if circuit is not None and not circuit.is_recovered:
            return TriggerState(phase="recovering", why=circuit.why)
        return RUNNING

    def changes_at(self, now: float) -> float:
        """Return when `state` will be another because of the time alone; never if it will not."""
        times = [self._held_until]
        if self._circuit is not None and self._circuit.is_open:
            times.append(self._circuit.until)
        return min((each for each in times if each > now), default=_LATER)


def is_older(claim: Claim, age: timedelta) -> bool:
    """Return whether the claim's event was accepted longer than ``age`` ago."""
    return datetime.now(UTC) - claim.accepted_at > age


def _size(claim: Claim) -> int:
    return len(claim.event.data or b"")


def _date(at: float, now: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=at - now)
