"""Events that ordered triggers have parked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from broker.admin.models.base import Document
from broker.admin.models.deadletters import RefusalSummary
from broker.status import Parked


class ParkedDocument(Document, frozen=True, kw_only=True):
    """``key`` is the partition key that the event holds up, ``since`` when it was parked here."""

    id: str
    source: str
    key: str
    since: datetime
    why: RefusalSummary

    @classmethod
    def of(cls, parked: Parked) -> ParkedDocument:
        return cls(
            id=parked.id,
            source=parked.source,
            key=parked.key,
            since=parked.since,
            why=RefusalSummary(
                destination=parked.why.destination,
                reason=parked.why.reason,
                status=parked.why.status,
                attempts=parked.why.attempts,
            ),
        )


class ParkedList(Document, frozen=True, kw_only=True):
    """What a trigger has parked, or those of it that something was ordered for."""

    trigger: str
    parked: Sequence[ParkedDocument]

    @classmethod
    def of(cls, trigger: str, parked: Sequence[Parked]) -> ParkedList:
        return cls(trigger=trigger, parked=[ParkedDocument.of(each) for each in parked])


class ParkedRequest(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which parked events are meant, one or ``all``, and ``why``, for the record."""

    why: str
    id: str | None = None
    source: str | None = None
    all: bool = False
