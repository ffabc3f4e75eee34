"""What an ordered trigger has parked: events that it gave up, and that hold their keys up.

A parked event waits in its channel like one that is tried again; each time that it comes, it is
looked at instead of attempted, until an operator has ordered what is to become of it. What says so
durably is a claim that is condemned with no attempt at a dead-letter sink: nothing else leaves
one behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from broker.ports import Claim, Deferred, Refusal
from broker.status import Order, Parked
from broker.trigger import Trigger

_log: Final = logging.getLogger("cemesh.delivery")

_PAUSE: Final = timedelta(seconds=1)
_LOOKS: Final = 20
"""Looks at the parked events of a trigger, a second at most: each is a write to the channel."""

_GONE_AFTER: Final = 300.0
"""Seconds without a look after which an event must be another process's by now."""

Change = Literal["parked", "retried", "skipped"]


def _untold(_: Change, __: Parked, ___: str | None) -> None:
    pass


@dataclass(slots=True)
class _Place:
    """A parked event, when it was looked at last, and what has been ordered since."""

    parked: Parked
    seen: float
    order: Order | None = None


class Parking:
    """The parked events of one trigger that this process holds.

    ``tell`` is called with each change, and with the operator's reason where there is one.
    """

    def __init__(
        self, trigger: Trigger, *, tell: Callable[[Change, Parked, str | None], None] = _untold
    ) -> None:
        self._trigger = trigger
        self._announce = tell
        self._parks = trigger.ordered and trigger.delivery.parks
        self._places: dict[tuple[str, str], _Place] = {}
        self._shut_at = 0.0

    # --- for the delivery ------------------------------------------------------------------

    def takes(self, claim: Claim) -> bool:
        """Return whether the claim is to be parked when it is given up.

        One without a key holds nobody up, and has no place in an order.
        """
        return self._parks and "partitionkey" in claim.event.attributes

    def has(self, claim: Claim) -> bool:
        """Return whether the claim is parked, by this process or a former one."""
        return claim.condemned is not None and claim.attempts == 0 and self.takes(claim)

    def park(self, claim: Claim, why: Refusal) -> Deferred:
        """Park a claim that is given up."""
        self._tell("parked", self._place(claim, why).parked, None)
        return self._wait(why)

    def look(self, claim: Claim, why: Refusal) -> Order | Deferred:
        """Return what is ordered for a claim that is parked, or how long it stays so."""
        place = self._place(claim, why)
        place.seen = time.monotonic()
        return place.order or self._wait(why)

    def retry(self, claim: Claim, why: Refusal, order: Order) -> Deferred:
        """Let the claim come again at once, as if it had never been attempted."""
        self._tell("retried", self._place(claim, why).parked, order.why)
        self.leave(claim)
        return Deferred(delay=timedelta(0), attempts=0, condemned=None)

    def skip(self, claim: Claim, why: Refusal, order: Order) -> None:
        """Note that the claim has been given up for good, as ordered."""
        self._tell("skipped", self._place(claim, why).parked, order.why)
        self.leave(claim)

    def leave(self, claim: Claim) -> None:
        """Note that the claim is not parked any more."""
        self._places.pop(_name(claim), None)

    def _place(self, claim: Claim, why: Refusal) -> _Place:
        name = _name(claim)
        if name not in self._places:
            self._places[name] = _Place(_parked(claim, why), time.monotonic())
        return self._places[name]

    def _wait(self, why: Refusal) -> Deferred:
        pause = max(_PAUSE, timedelta(seconds=len(self._places) / _LOOKS))
        return Deferred(delay=pause, attempts=0, condemned=why)

    def _tell(self, change: Change, parked: Parked, why: str | None) -> None:
        extra = {
            "trigger": self._trigger.key,
            "event_id": parked.id,
            "source": parked.source,
            "key": parked.key,
            "attempts": parked.why.attempts,
            "refused": parked.why.reason,
        }
        if why is not None:
            extra["why"] = why
        level = logging.WARNING if change == "parked" else logging.INFO
        _log.log(level, f"event {change}", extra=extra)
        self._announce(change, parked, why)

    # --- for operators ---------------------------------------------------------------------

    def list(self, *, is_running: bool) -> Sequence[Parked]:
        """Return what is parked here, that which waits longest first.

        As long as the trigger ``is_running``, what has not come for long is not here any more.
        """
        now = time.monotonic()
        if not is_running:
            self._shut_at = now
        for name, place in [*self._places.items()]:
            if now - max(place.seen, self._shut_at) > _GONE_AFTER:
                del self._places[name]
        return sorted((each.parked for each in self._places.values()), key=lambda each: each.since)

    def order(self, events: Sequence[Parked], order: Order) -> None:
        """Have these dealt with when they come next; the last order counts."""
        for each in events:
            self._places[each.source, each.id].order = order


def skipped(why: Refusal, order: Order) -> Refusal:
    """Return why an event is given up that was parked for ``why``."""
    return replace(why, reason=f"{why.reason}; skipped by an operator: {order.why}")


def _name(claim: Claim) -> tuple[str, str]:
    return claim.event.source, claim.event.id


def _parked(claim: Claim, why: Refusal) -> Parked:
    event = claim.event
    return Parked(
        id=event.id,
        source=event.source,
        key=event.attributes["partitionkey"],
        since=datetime.now(UTC),
        why=why,
    )
