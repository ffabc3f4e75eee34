"""What those are told of each event who count it, keep its story or trace it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol

from broker.event import Event
from broker.ports.claims import Claim, Step
from broker.ports.sinks import Answer

OriginKind = Literal["request", "source", "reply", "redrive", "announcement"]


class Arrival(NamedTuple):
    """When events came, in seconds since 1970, and of each the span that led to it, if any.

    ``cause`` is the span of the event that a reply is to. Spans are texts as `Event.trace` is one.
    """

    began: float
    parents: Sequence[str | None]
    cause: str | None


class Origin(NamedTuple):
    """How events came into a broker, and by whom.

    ``who`` is, of a request, the client's address, behind the name that it is known by to the
    broker, if it is; of a source ``Kind namespace/name``; of a reply and a redrive the trigger; of
    an announcement the broker that it is told to. ``cause`` is the source and id of the event that
    a reply is to. ``arrival`` is there where traces are on.
    """

    kind: OriginKind
    who: str
    cause: tuple[str, str] | None = None
    arrival: Arrival | None = None


Reason = Literal[
    "invalid_event",
    "hops_exhausted",
    "too_large",
    "unsupported_content",
    "unauthenticated",
    "forbidden",
    "channel_full",
    "channel_unavailable",
    "unknown_broker",
    "unknown_source",
    "method_not_allowed",
    "malformed_request",
    "source",
    "fault",
]
"""Why a request was refused. ``source``: a source that is called did; ``fault``: one of our own."""


class Verdict(Enum):
    """What becomes of a delivery after one attempt, as far as the answer decides it."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


class Attempt(NamedTuple):
    """One attempt. ``number`` counts from 1, anew for a dead-letter sink.

    ``began`` is in seconds since 1970; ``seconds``, how long it took, cover the storing of a reply.
    ``verdict`` is what the answer means as such, whether or not there are retries left;
    ``exhausted`` says that it asks for one more, and there are none. ``trace`` is the span of the
    attempt, where traces are on; that of ``event`` is what it comes from.
    """

    trigger: str
    broker: str
    event: Event
    accepted_at: datetime
    to: Literal["subscriber", "dead-letter sink"]
    destination: str
    number: int
    began: float
    seconds: float
    answer: Answer
    verdict: Verdict
    exhausted: bool = False
    trace: str | None = None


class Watcher(Protocol):
    """Is told on the event loop, in the middle of the work: it has to be quick, and not raise."""

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        """Note that the events are durable; ``seconds`` after the request for that began."""
        ...

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        """Note that a request to the broker was answered with that HTTP status.

        ``broker`` is the key of one that runs, or None where the request named none.
        """
        ...

    def attempted(self, attempt: Attempt) -> None:
        """Note an attempt that has ended. One that was broken off is not told."""
        ...

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        """Note what becomes of a claim, unless it was just delivered: that the attempt tells."""
        ...


class Unwatched:
    """A `Watcher` that notes nothing."""

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        pass

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        pass

    def attempted(self, attempt: Attempt) -> None:
        pass

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        pass


UNWATCHED: Final[Watcher] = Unwatched()
