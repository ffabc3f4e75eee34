"""A watcher that keeps what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from broker.event import Event
from broker.ports import (
    Accepted,
    Answer,
    Attempt,
    Claim,
    Origin,
    Reason,
    Refused,
    Step,
    Unwatched,
    Verdict,
)

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.placed"})


class Noting(Unwatched):
    """See `broker.ports.Watcher`. ``on_attempt`` is called instead of keeping an attempt."""

    def __init__(self, *, on_attempt: Callable[[Attempt], None] | None = None) -> None:
        self.stored: list[tuple[str, Event, Origin]] = []
        self.seconds: list[float | None] = []
        self.refusals: list[tuple[str | None, int, Reason]] = []
        self.attempts: list[Attempt] = []
        self.decisions: list[tuple[str, Claim, Step]] = []
        self._on_attempt = on_attempt or self.attempts.append

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        self.stored += [(broker, event, origin) for event in events]
        self.seconds.append(seconds)

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        self.refusals.append((broker, status, reason))

    def attempted(self, attempt: Attempt) -> None:
        self._on_attempt(attempt)

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        self.decisions.append((trigger, claim, step))


def attempt(
    trigger: str,
    verdict: Verdict = Verdict.DELIVERED,
    seconds: float = 0.01,
    *,
    event: Event = EVENT,
    answer: Answer | None = None,
) -> Attempt:
    """Return an attempt that has just ended so."""
    if answer is None:
        answer = Accepted() if verdict is Verdict.DELIVERED else Refused(reason="no")
    now = datetime.now(UTC)
    return Attempt(
        trigger=trigger,
        broker="default/default",
        event=event,
        accepted_at=now,
        to="subscriber",
        destination="http://subscriber.test/",
        number=1,
        began=now.timestamp() - seconds,
        seconds=seconds,
        answer=answer,
        verdict=verdict,
    )
