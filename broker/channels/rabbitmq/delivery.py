"""One message that is in hand for one trigger, and what is to become of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from broker.event import Event
from broker.ports import Outcome, Refusal


class Session(Protocol):
    """What is consumed over one connection."""

    def ack(self, tags: Sequence[int]) -> None:
        """Ack these messages, unless the connection is lost."""
        ...

    async def sync(self) -> None:
        """Return once the server has seen all acks. Raises `ChannelUnavailable`."""
        ...


class Receipt(NamedTuple):
    """By what a message is acked: its tag, which holds in the session that it came in."""

    session: Session
    tag: int


@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """A message that is in hand.

    ``position`` counts what was received. ``stamp`` is None where others published the message;
    ``at`` is when its event was accepted, ``due`` when it may be claimed, in microseconds since
    1970. ``receipt`` is None while the connection that it came over is lost: then the server may
    give the message to others, and will to somebody. ``is_counted`` tells that others have had it.
    """

    size: ClassVar[int] = 0  # what a trigger may have in hand is bounded by number

    position: int
    stamp: str | None
    at: int
    event: Event
    receipt: Receipt | None
    queue: str
    attempts: int = 0
    condemned: Refusal | None = None
    due: int = 0
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """Its outcome is final."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PutOff:
    """It is to come back at ``due``, in microseconds since 1970."""

    due: int
    attempts: int
    condemned: Refusal | None


@dataclass(frozen=True, slots=True)
class Bury:
    """It goes into the dead-letter store."""

    why: Refusal


@dataclass(frozen=True, slots=True)
class Keep:
    """It keeps its turn in hand until it is due; decided while its connection was lost."""


Fate = Settle | PutOff | Bury | Keep
"""What is to become of a delivery, before its message is acked."""
