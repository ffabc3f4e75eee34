"""One subscription of a trigger: hands out its claims and takes them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from broker.channels.embedded.place import EmbeddedPlace
from broker.channels.embedded.records import moment
from broker.ports import Claim, Outcome, Refusal


class EmbeddedCursor:
    """See `broker.ports.Cursor`."""

    def __init__(self, place: EmbeddedPlace, window: int) -> None:
        self._place = place
        self._window = window
        self._out: set[int] = set()
        self._wake = asyncio.Event()
        self._retired = False

    async def claims(self) -> AsyncIterator[Claim]:
        while not self._retired:
            held = self._place.claim() if len(self._out) < self._window else None
            if held is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            position = held.entry.position
            self._out.add(position)
            yield Claim(
                event=held.entry.event,
                attempts=held.attempts,
                condemned=held.condemned,
                accepted_at=moment(held.entry.at),
                position=position,
            )

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        self._place.settle(self._take(claim), outcome)

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        self._place.defer(self._take(claim), delay, attempts, condemned)

    def release(self, claim: Claim) -> None:
        self._place.release(self._take(claim))

    def bury(self, claim: Claim, why: Refusal) -> None:
        self._place.bury(self._take(claim), why)

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def retire(self) -> None:
        """End the claims; what is out may still be settled."""
        self._retired = True
        self._wake.set()

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
        self._wake.set()
        return position
