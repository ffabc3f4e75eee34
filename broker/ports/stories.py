"""What is kept of what became of each event, to be looked up and searched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from broker.ports.watching import Origin

Became = Literal["waits", "parked", "retried", "dead-lettered", "buried"]
"""What became of a claim, unless it was delivered.

It waits for its next attempt; an operator has to decide; an operator had it tried again; the
dead-letter sink has it; the broker's own store has it.
"""

Outcome = Literal["delivered", "waiting", "parked", "dead-lettered"]
"""How a trigger has come out with an event, as far as it has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEntry:
    """The event came into ``broker``, ``at`` which it was durable."""

    at: datetime
    source: str
    id: str
    type: str
    broker: str
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEntry:
    """An attempt that began ``at``, of an event that the broker had ``accepted_at``.

    ``destination`` is without credentials. ``status``, ``headers`` and ``body``, the first KiB of
    it, are the answer's; ``reason`` is why it was refused, or what is worth telling of a good
    answer. ``reply`` is the source and id of the event that it replied with. ``untried``: nothing
    was sent, for want of leave to. ``trace`` is its span, as a ``traceparent``.
    """

    at: datetime
    source: str
    id: str
    type: str
    accepted_at: datetime
    trigger: str
    to: Literal["subscriber", "dead-letter sink"]
    destination: str
    number: int
    seconds: float
    verdict: Literal["delivered", "retry", "give up"]
    status: int | None
    headers: Sequence[tuple[str, str]]
    body: bytes
    reason: str | None
    reply: tuple[str, str] | None
    untried: bool
    trace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEntry:
    """What became of a trigger's claim: for ``waits``, ``until`` when. ``attempts`` were made."""

    at: datetime
    source: str
    id: str
    type: str
    trigger: str
    became: Became
    until: datetime | None
    attempts: int
    reason: str | None


Entry = AcceptedEntry | AttemptEntry | DecisionEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is searched for: entries of events for which all that is given holds.

    ``triggers`` are those of which any is meant; with a ``broker``, its triggers, so that what
    came in there is meant as well. ``since`` and ``before`` bound when an entry was made, the
    second not included. ``outcome`` asks for entries that may have led to that.
    """

    id: str | None = None
    source: str | None = None
    type: str | None = None
    broker: str | None = None
    triggers: Collection[str] | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An event that was found, and when the last entry was made that it was found by."""

    at: datetime
    source: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPage:
    """What was found, the last first. Before ``reached`` nothing was looked for: ask again.

    That is None where everything was looked at.
    """

    found: Sequence[Found]
    reached: datetime | None


class Stories(Protocol):
    """The entries that are kept, of one process or of several."""

    async def of(self, ids: Collection[str]) -> Sequence[Entry]:
        """Return all entries of events with these ids, of whatever source, in order of time."""
        ...

    async def search(self, wanted: Wanted, *, limit: int) -> FoundPage:
        """Return ``limit`` events, each once, the one with the last entry first.

        Fewer where there are not so many, or where to look back further would take more than a
        moment; and more where several entries are of the same moment as the last.
        """
        ...
