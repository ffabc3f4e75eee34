"""One line of the log for each stage that an event passes, at debug.

Those that wait for an operator, or end as dead letters, are told by the parts that see to them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from broker.event import Event
from broker.ports import Attempt, Claim, Deferred, Origin, Refused, Step, Unwatched, Verdict
from broker.urls import without_credentials

_ingress: Final = logging.getLogger("cemesh.ingress")
_delivery: Final = logging.getLogger("cemesh.delivery")


class Stages(Unwatched):
    """A `broker.ports.Watcher` that logs. Where nobody debugs, it costs a look at the level."""

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        if _ingress.isEnabledFor(logging.DEBUG):
            told = {"broker": broker, "origin": origin.kind, "by": origin.who}
            if origin.cause is not None:
                told["reply_to"] = origin.cause[1]
            for event in events:
                _ingress.debug("accepted", extra={**_named(event), **told})

    def attempted(self, attempt: Attempt) -> None:
        if not _delivery.isEnabledFor(logging.DEBUG):
            return
        told: dict[str, object] = {"trigger": attempt.trigger, **_named(attempt.event)}
        more = {
            "to": attempt.to,
            "destination": without_credentials(attempt.destination),
            "number": attempt.number,
            "seconds": round(attempt.seconds, 6),
            "verdict": attempt.verdict.value,
        }
        if isinstance(attempt.answer, Refused):
            more["why"] = attempt.answer.reason
        _delivery.debug("attempt", extra={**told, **more})
        if attempt.verdict is Verdict.DELIVERED and attempt.to == "subscriber":
            _delivery.debug("delivered", extra={**told, "attempts": attempt.number})

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        if not isinstance(step, Deferred) or not _delivery.isEnabledFor(logging.DEBUG):
            return
        if step.condemned is not None and step.attempts == 0:
            return  # it is parked, which is no news each time that it is looked at
        until = datetime.now(UTC) + step.delay
        told = {
            "trigger": trigger,
            **_named(claim.event),
            "attempts": step.attempts,
            "until": until.isoformat(timespec="milliseconds"),
        }
        _delivery.debug("put off", extra=told)


def _named(event: Event) -> dict[str, str]:
    return {"event_id": event.id, "source": event.source}
