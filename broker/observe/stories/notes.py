"""What is noted of events in the middle of the work: nothing is made of it there.

A note keeps what it is about as it is, and no payload. That is turned into a block's rows later,
in a thread (`broker.observe.stories.blocks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.ports import Answer, Origin, Verdict

Attributes = Mapping[str, str]


class AcceptedNote(NamedTuple):
    """Times are in seconds since 1970, as in all of these."""

    at: float
    broker: str
    events: Sequence[Attributes]
    origin: Origin


class AttemptNote(NamedTuple):
    at: float
    event: Attributes
    accepted_at: datetime
    trigger: str
    to: str
    destination: str
    number: int
    seconds: float
    answer: Answer
    verdict: Verdict


class DecisionNote(NamedTuple):
    at: float
    event: Attributes
    trigger: str
    became: str
    delay: timedelta | None
    attempts: int
    reason: str | None


Note = AcceptedNote | AttemptNote | DecisionNote
