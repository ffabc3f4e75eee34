"""Stands between what a trigger claims and its attempts, and lets them begin when they may.

What waits for that stays in the channel, at no cost and with no attempt counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from broker.ports import Accepted, Answer, Claim
from broker.status import RUNNING, TriggerState
from broker.trigger import Trigger
from delivery.admission import Admission

_log: Final = logging.getLogger("cemesh.delivery")

_NEVER: Final = float("inf")

_LINES: Final[Mapping[str, tuple[int, str]]] = {
    "running": (logging.INFO, "trigger resumed"),
    "held": (logging.INFO, "trigger held"),
    "paused": (logging.WARNING, "trigger paused"),
    "probing": (logging.DEBUG, "trigger probing"),
    "recovering": (logging.INFO, "trigger recovering"),
}
"""The level and message of what is logged when that becomes its phase."""

_TELL: Final = 10.0
"""Seconds between two lines about Retry-After of one trigger: some subscribers ask all the time."""


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, no secret


def _unobserved(_: TriggerState) -> None:
    pass


class Gate:
    """The gate of one trigger, for as long as that runs unchanged in this process.

    ``on_change`` is called with every new state, but not for an ``until`` that moves alone.
    """

    def __init__(
        self, trigger: Trigger, *, on_change: Callable[[TriggerState], None] = _unobserved
    ) -> None:
        self._trigger = trigger
        self._on_change = on_change
        self._admission = Admission(trigger, share=_jitter)
        self._moved = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._is_awaited = False
        self._awaited = _NEVER
        self._told = RUNNING
        self._tell_again = 0.0
        self._quiet = False

    @property
    def state(self) -> TriggerState:
        return self._admission.state(time.monotonic())

    # --- for the dispatcher ----------------------------------------------------------------

    def admit(self, claim: Claim) -> bool:
        """Return whether the claim's attempt may begin, and count it as under way if so."""
        admission, now = self._admission, time.monotonic()
        if not admission.is_free and admission.ready_at(claim) > now:
            return False
        admission.begin(claim, now)
        if _log.isEnabledFor(logging.DEBUG):
            self._tell_claimed(claim)
        return True

    async def opens(self, claim: Claim) -> None:
        """Return when a claim like that one may be admitted. One at a time may wait for it."""
        self._is_awaited = True
        try:
            while (at := self._admission.ready_at(claim)) > time.monotonic():
                self._moved.clear()
                self._awaited = at
                self._set_alarm()
                await self._moved.wait()
        finally:
            self._is_awaited, self._awaited = False, _NEVER

    def leave(self, claim: Claim) -> None:
        """Count the claim's attempt as over."""
        self._admission.end(claim)
        if self._is_awaited:
            self._moved.set()

    def clear(self) -> None:
        """Count whatever is under way as over: some of it was broken off before it began."""
        self._admission.end_all()
        self._moved.set()

    def close(self) -> None:
        """Tell no more: the trigger has ended here, and nothing is heard any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    # --- for the delivery ------------------------------------------------------------------

    def heard(self, claim: Claim, answer: Answer) -> None:
        """Note what the subscriber answered, before anything is made of a reply."""
        if self._admission.is_free and isinstance(answer, Accepted):
            return  # which changes nothing
        if self._admission.heard(claim, answer, time.monotonic()):
            self._note()

    # --- for operators ---------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Let no attempt begin until `resume`; what is under way goes on."""
        self._admission.pause(why, time.monotonic())
        self._note()

    def resume(self) -> None:
        """Let attempts begin, whatever kept them from it but limits."""
        self._admission.resume(time.monotonic())
        self._note()
        self._moved.set()

    # --- inside ----------------------------------------------------------------------------

    def _ring(self) -> None:
        self._admission.weigh(time.monotonic())
        self._note()
        self._moved.set()

    def _note(self) -> None:
        """Tell of the state if it is another."""
        former, state = self._told, self.state
        if (former.phase, former.why) != (state.phase, state.why):
            self._told = state
            self._tell(former, state)
            self._on_change(state)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Look again when an attempt may begin that is waited for, or the state changes."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = time.monotonic()
        at = min(self._awaited, self._admission.changes_at(now))
        if at != _NEVER:
            seconds = max(0.0, at - now)
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _tell_claimed(self, claim: Claim) -> None:
        event = claim.event
        extra = {"trigger": self._trigger.key, "event_id": event.id, "source": event.source}
        _log.debug("claimed", extra={**extra, "attempts": claim.attempts})

    def _tell(self, former: TriggerState, state: TriggerState) -> None:
        level, message = _LINES[state.phase]
        if state.phase == "paused" and former.phase == "probing":
            message = "trigger probed"
        if state.phase == "held":
            now = time.monotonic()
            self._quiet = now < self._tell_again
            if not self._quiet:
                self._tell_again = now + _TELL
        elif state.phase != "running":
            self._quiet = False
        extra: dict[str, object] = {"trigger": self._trigger.key, "why": state.why or former.why}
        if state.until is not None:
            extra["seconds"] = round((state.until - datetime.now(UTC)).total_seconds(), 1)
        _log.log(logging.DEBUG if self._quiet else level, message, extra=extra)
