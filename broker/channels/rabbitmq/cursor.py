"""One subscription of a trigger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from broker.channels.clock import after
from broker.channels.rabbitmq.delivery import Bury, Delivery, PutOff, Settle
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.stamps import time_of
from broker.ports import Claim, Outcome, Refusal

Submit = Callable[[Place, Delivery], None]
"""Take note that there is something to store about the delivery."""


class RabbitmqCursor:
    """See `broker.ports.Cursor`. What becomes of a claim is stored behind the caller's back."""

    def __init__(self, place: Place, window: int, submit: Submit) -> None:
        self._place = place
        self._window = window
        self._submit = submit
        self._awake = asyncio.Event()
        self._retired = False
        self._out: set[int] = set()

    async def claims(self) -> AsyncIterator[Claim]:
        while not self._retired:
            delivery = self._place.claim() if len(self._out) < self._window else None
            if delivery is None:
                self._awake.clear()
                await self._awake.wait()
                continue
            self._out.add(delivery.position)
            yield Claim(
                event=delivery.event,
                attempts=delivery.attempts,
                condemned=delivery.condemned,
                accepted_at=time_of(delivery.at),
                position=delivery.position,
            )

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        self._submit(self._place, self._place.close(self._take(claim), Settle(outcome)))

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        position, due = self._take(claim), after(delay)
        if self._place.is_ordered:
            delivery = self._place.keep(position, due, attempts, condemned)
        else:
            delivery = self._place.close(position, PutOff(due, attempts, condemned))
        self._submit(self._place, delivery)

    def release(self, claim: Claim) -> None:
        self._place.release(self._take(claim))

    def bury(self, claim: Claim, why: Refusal) -> None:
        self._submit(self._place, self._place.close(self._take(claim), Bury(why)))

    def wake(self) -> None:
        """There may be something to claim."""
        self._awake.set()

    def retire(self) -> None:
        """End the claims; what is out may still be settled."""
        self._retired = True
        self._awake.set()

    def return_claims(self) -> None:
        """Give back whatever is still out."""
        for position in sorted(self._out, reverse=True):
            self._place.release(position)
        self._out.clear()

    def _take(self, claim: Claim) -> int:
        position = claim.position
        if not isinstance(position, int) or position not in self._out:
            raise ValueError(f"this claim on the event {claim.event.id} is not out")
        self._out.remove(position)
        self._awake.set()
        return position
