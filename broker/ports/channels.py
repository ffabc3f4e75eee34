"""The events of one broker, durable, and who has got how far in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from broker.event import Event
from broker.filters import Filter
from broker.ports.claims import Claim, Outcome, Refusal
from broker.ports.stores import Archive, Checkpoints, Pauses


class Cursor(Protocol):
    """A trigger's place in its broker's events.

    What becomes of a claim is noted at once, and stored behind the caller's back.
    """

    def claims(self) -> AsyncIterator[Claim]:
        """Yield every matching event until the subscription ends.

        In no promised order, unless the subscription is ordered. At most ``window`` claims are
        out at any time: the next waits until one is settled, deferred, buried or released. To be
        iterated once.
        """
        ...

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """Record that the claim is done with, in any order. It does not come back.

        A crash shortly after may repeat the delivery; it never skips one.
        """
        ...

    def defer(
        self, claim: Claim, delay: timedelta, *, attempts: int, condemned: Refusal | None
    ) -> None:
        """Give the claim back, to come again after ``delay`` with these attempts, durably."""
        ...

    def release(self, claim: Claim) -> None:
        """Give the claim back untouched; it comes again at once."""
        ...

    def bury(self, claim: Claim, why: Refusal) -> None:
        """Move the event into the broker's dead-letter store and settle the claim, as one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """A trigger's account. All are counts of events since the trigger first ran.

    ``waiting`` is counted by looking at what waits, not by subtraction, so that
    ``unaccounted`` says something. ``oldest_waiting`` is when that event was accepted.
    """

    matched: int
    delivered: int
    dead_lettered: int
    waiting: int
    oldest_waiting: datetime | None

    @property
    def unaccounted(self) -> int:
        return self.matched - self.delivered - self.dead_lettered - self.waiting


class Channel(Archive, Protocol):
    """The events of one broker, durable, and who has got how far in them."""

    @property
    def pauses(self) -> Pauses: ...

    @property
    def checkpoints(self) -> Checkpoints: ...

    async def bury(self, event: Event, why: Refusal) -> None:
        """Return once the event is durable in the broker's dead-letter store, for no trigger.

        Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...

    async def alone(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` once no other process does that of this name, and return when it is done.

        Where the channel can no longer tell that it is the only one, ``work`` is cancelled, waited
        for, and `ChannelUnavailable` raised. A process that dies gives way within 30 s; for as long
        after a network that went silent, two may work.
        """
        ...

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        """Return once all the events are durable, or raise and have stored none.

        ``to`` names the one trigger that the events are for, whatever its filter says: a
        redrive. Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...

    def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AbstractAsyncContextManager[Cursor]:
        """Subscribe the trigger while the context lasts.

        A trigger that is new starts with what is appended from now on; one that was known
        goes on where it was, unsettled claims and deferred ones first. Subscribing again
        before the first context ended takes the place of the first: its cursor yields no
        more, but can still settle, defer, bury and release what it holds. Claims that are
        out when a context ends are released.

        ``ordered``: events of one ``partitionkey`` (CloudEvents Partitioning Extension) come one
        at a time, in the order in which they were appended, each when the one before is settled
        or buried; also after a restart. While one is deferred, later ones of its key wait, and
        nothing else does, as long as fewer than 1,000 keys are under way or waiting. What was
        claimed before the trigger was ordered comes back in no promised order.
        """
        ...

    async def unsubscribe(self, trigger: str) -> None:
        """Note that the trigger is gone. Should it return, it goes on where it was.

        Its place is kept as long as the retention lets it, and holds no events back.
        """
        ...

    async def triggers(self) -> Collection[str]:
        """Return the triggers that the channel keeps a place for, those that have gone aside."""
        ...

    async def check(self) -> None:
        """Return if events can be stored now; raise `ChannelUnavailable` with the cause if not."""
        ...

    async def accepted(self) -> int:
        """Return how many events were appended since the broker first ran.

        While the store cannot be reached, that is as it was known last.
        """
        ...

    async def books(self) -> Mapping[str, Books]:
        """Return the account of every trigger that is subscribed, as it is known here.

        An outage of the store is no reason not to tell it.
        """
        ...


class FutureChannel(Channel, Protocol):
    """A channel that can store with no task to wait for it, too: one a request costs 10 µs."""

    def submit(self, events: Sequence[Event], *, to: str | None = None) -> asyncio.Future[None]:
        """Do what `Channel.append` does, from now on. What that raises, this or the future does."""
        ...
