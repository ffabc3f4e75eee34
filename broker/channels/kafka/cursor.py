"""One subscription of a trigger over all the partitions that this process holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from broker.channels.kafka.entries import Entry
from broker.channels.kafka.place import KafkaPlace
from broker.channels.place import Held
from broker.event import Event
from broker.filters import Filter
from broker.ports import Claim, Outcome, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """A delivery that is to come back, and with what.

    ``partition`` is the number of the one that it is from, ``accepted`` when its event was.
    """

    partition: int
    trigger: str
    event: Event
    accepted: datetime
    due: datetime
    attempts: int
    condemned: Refusal | None


class Elsewhere(Protocol):
    """Where deliveries go that are put off or given up. Both may raise a `CemeshError`."""

    async def put_off(self, delivery: PutOff) -> None:
        """Return once it is durable."""
        ...

    async def bury_claimed(self, trigger: str, event: Event, why: Refusal, delivery: str) -> None:
        """Return once the dead letter of that delivery is durable."""
        ...


@dataclass(slots=True, eq=False)  # frozen, it would take three times as long to make
class _Out:
    """The position of a claim: where it is to be settled."""

    place: KafkaPlace
    offset: int


class KafkaCursor:
    """See `broker.ports.Cursor`. Places come and go with the partitions."""

    def __init__(
        self,
        trigger: str,
        filter: Filter,
        window: int,
        elsewhere: Elsewhere,
        *,
        ordered: bool = False,
    ) -> None:
        self.filter = filter
        self.ordered = ordered
        self._trigger = trigger
        self._window = window
        self._elsewhere = elsewhere
        self._ready: dict[KafkaPlace, None] = {}  # in turn, so that no partition waits for others
        self._out: set[_Out] = set()
        self._wake = asyncio.Event()
        self._retired = False

    def ready(self, place: KafkaPlace) -> None:
        """The place may have something to claim."""
        self._ready[place] = None
        self._wake.set()

    def places_out(self) -> Iterator[KafkaPlace]:
        """Yield the place of every claim that is out."""
        return (out.place for out in self._out)

    async def claims(self) -> AsyncIterator[Claim]:
        while not self._retired:
            found = self._next() if len(self._out) < self._window else None
            if found is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            place, held = found
            out = _Out(place, held.entry.position)
            self._out.add(out)
            yield Claim(
                event=held.entry.event,
                attempts=held.attempts,
                condemned=held.condemned,
                accepted_at=held.entry.accepted_at,
                position=out,
            )

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        out = self._take(claim)
        out.place.settle(out.offset, outcome)

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        out = self._take(claim)
        if out.place.is_in_line(out.offset):
            out.place.keep(out.offset, delay, attempts, condemned)
            return
        delivery = PutOff(
            partition=out.place.number,
            trigger=self._trigger,
            event=claim.event,
            accepted=claim.accepted_at,
            due=datetime.now(UTC) + delay,
            attempts=attempts,
            condemned=condemned,
        )
        store: Callable[[], Awaitable[None]] = partial(self._elsewhere.put_off, delivery)
        out.place.defer(out.offset, attempts, condemned, store)

    def release(self, claim: Claim) -> None:
        out = self._take(claim)
        out.place.release(out.offset)

    def bury(self, claim: Claim, why: Refusal) -> None:
        out = self._take(claim)
        delivery = f"{out.place.partition}/{out.offset}"
        bury: Callable[[], Awaitable[None]] = partial(
            self._elsewhere.bury_claimed, self._trigger, claim.event, why, delivery
        )
        out.place.bury(out.offset, bury)

    def retire(self) -> None:
        """End the claims; what is out may still be settled."""
        self._retired = True
        self._wake.set()

    def return_claims(self) -> None:
        """Give back whatever is still out."""
        for out in self._out:
            out.place.release(out.offset)
        self._out.clear()

    def _next(self) -> tuple[KafkaPlace, Held[Entry]] | None:
        while self._ready:
            place = next(iter(self._ready))
            del self._ready[place]
            held = place.claim()
            if held is not None:
                self._ready[place] = None
                return place, held
        return None

    def _take(self, claim: Claim) -> _Out:
        out = claim.position
        if not isinstance(out, _Out) or out not in self._out:
            raise ValueError(f"this claim on the event {claim.event.id} is not out")
        self._out.remove(out)
        self._wake.set()
        return out
