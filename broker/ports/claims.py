"""Claims, and what becomes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from broker.event import Event


class Outcome(Enum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a delivery was given up, as the dead letter tells it.

    ``destination`` is the URL that refused, ``status`` absent where there was no answer,
    ``body`` the first 1,024 bytes of the answer, ``attempts`` how many were made.
    """

    destination: str
    reason: str
    status: int | None
    body: bytes
    attempts: int


@dataclass(slots=True, kw_only=True, eq=False)  # frozen, it would take three times as long to make
class Claim:
    """One event held for one trigger until it is settled, deferred, buried or released.

    ``attempts`` counts the attempts made before, also before a restart: to the subscriber,
    or, once ``condemned`` says why the subscriber was given up, to the dead-letter sink.
    ``accepted_at``, which has a time zone, is when the broker took the event, however often it
    was deferred since. ``position`` is opaque to everyone but the channel.
    """

    event: Event
    attempts: int
    condemned: Refusal | None
    accepted_at: datetime
    position: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The outcome is final and stored: settle the claim. ``why`` goes with a dead letter."""

    outcome: Outcome
    why: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Give the claim back for ``delay``, with what is known so far."""

    delay: timedelta
    attempts: int
    condemned: Refusal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """Nobody takes the event: it goes into the broker's own dead-letter store."""

    why: Refusal


Step = Settled | Deferred | Buried
"""What is to become of a claim after an attempt."""

Ended = Settled | Callable[[], Awaitable[Step]]
"""The step that an attempt came to, or what comes to it."""
