"""Dead letters, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Raw

from broker.admin.models.base import Document, told
from broker.codecs.json import encode_event
from broker.ports import Cause, DeadLetter, Refusal
from broker.status import Redriven


class EventSummary(Document, frozen=True, kw_only=True):
    id: str
    source: str
    type: str
    subject: str | None


class RefusalSummary(Document, frozen=True, kw_only=True):
    destination: str
    reason: str
    status: int | None
    attempts: int


class RefusalDocument(RefusalSummary, frozen=True, kw_only=True):
    """``body`` is base64; ``body_text`` is the same where it is UTF-8."""

    body: str
    body_text: str | None

    @classmethod
    def of(cls, why: Refusal) -> RefusalDocument:
        body, text = told(why.body)
        return cls(
            destination=why.destination,
            reason=why.reason,
            status=why.status,
            attempts=why.attempts,
            body=body,
            body_text=text,
        )


class DeadLetterSummary(Document, frozen=True, kw_only=True):
    id: str
    trigger: str
    buried_at: datetime
    event: EventSummary
    why: RefusalSummary

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterSummary:
        event, why = letter.event, letter.why
        return cls(
            id=letter.id,
            trigger=letter.trigger,
            buried_at=letter.buried_at,
            event=EventSummary(
                id=event.id,
                source=event.source,
                type=event.type,
                subject=event.attributes.get("subject"),
            ),
            why=RefusalSummary(
                destination=why.destination,
                reason=why.reason,
                status=why.status,
                attempts=why.attempts,
            ),
        )


class DeadLetterPage(Document, frozen=True, kw_only=True):
    """``next`` is what to pass as ``after`` for the page that follows; None on the last."""

    dead_letters: Sequence[DeadLetterSummary]
    next: str | None


class DeadLetterDocument(Document, frozen=True, kw_only=True):
    """One dead letter; ``event`` is the whole event in the structured JSON format."""

    id: str
    trigger: str
    buried_at: datetime
    event: Raw
    why: RefusalDocument

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterDocument:
        return cls(
            id=letter.id,
            trigger=letter.trigger,
            buried_at=letter.buried_at,
            event=Raw(encode_event(letter.event)),
            why=RefusalDocument.of(letter.why),
        )


class CauseDocument(Document, frozen=True, kw_only=True):
    """How many dead letters of a trigger were given up for that reason, and from when to when."""

    trigger: str
    reason: str
    status: int | None
    count: int
    first: datetime
    last: datetime

    @classmethod
    def of(cls, cause: Cause) -> CauseDocument:
        return cls(
            trigger=cause.trigger,
            reason=cause.reason,
            status=cause.status,
            count=cause.count,
            first=cause.first,
            last=cause.last,
        )


class CausesDocument(Document, frozen=True, kw_only=True):
    """All causes, those with most dead letters first; ``count`` is of all dead letters."""

    count: int
    causes: Sequence[CauseDocument]

    @classmethod
    def of(cls, causes: Sequence[Cause]) -> CausesDocument:
        return cls(
            count=sum(each.count for each in causes),
            causes=[CauseDocument.of(each) for each in causes],
        )


class RedriveRequest(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to redrive: exactly one of the three."""

    ids: Sequence[str] | None = None
    trigger: str | None = None
    all: bool | None = None


class RedrivenDocument(Document, frozen=True, kw_only=True):
    """What became of a redrive: ``kept`` says why the others stay."""

    redriven: Sequence[str]
    kept: dict[str, str]

    @classmethod
    def of(cls, result: Redriven) -> RedrivenDocument:
        return cls(redriven=result.redriven, kept=dict(result.kept))
