"""The documents of the admin API. Both of its ends use them: the server and the command line.

Names are camelCase on the wire, times RFC 3339. A field that is None is sent as ``null``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime

from msgspec import Raw, Struct

from broker.codecs.json import encode_event
from broker.errors import Problem
from broker.ports import DeadLetter, Refusal
from broker.status import BrokerStatus, MeshStatus, Redriven, SourceStatus, TriggerStatus


class _Document(Struct, frozen=True, kw_only=True, rename="camel"):
    """What all of them share; `frozen` and `kw_only` are repeated where mypy needs them."""


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """An error (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


class Ready(_Document, frozen=True, kw_only=True):
    """Whether the mesh takes events, and, if not, why: one sentence each."""

    ready: bool
    reasons: Sequence[str]


class TriggerDocument(_Document, frozen=True, kw_only=True):
    name: str
    subscriber: str
    in_flight: int
    matched: int
    delivered: int
    dead_lettered: int
    waiting: int
    oldest_waiting: datetime | None
    unaccounted: int

    @classmethod
    def of(cls, trigger: TriggerStatus) -> TriggerDocument:
        books = trigger.books
        return cls(
            name=trigger.key,
            subscriber=trigger.subscriber,
            in_flight=trigger.in_flight,
            matched=books.matched,
            delivered=books.delivered,
            dead_lettered=books.dead_lettered,
            waiting=books.waiting,
            oldest_waiting=books.oldest_waiting,
            unaccounted=books.unaccounted,
        )


class BrokerDocument(_Document, frozen=True, kw_only=True):
    name: str
    channel: str
    accepted: int
    unavailable: str | None
    triggers: Sequence[TriggerDocument]

    @classmethod
    def of(cls, broker: BrokerStatus) -> BrokerDocument:
        return cls(
            name=broker.key,
            channel=broker.channel,
            accepted=broker.accepted,
            unavailable=broker.unavailable,
            triggers=[TriggerDocument.of(trigger) for trigger in broker.triggers],
        )


class SourceDocument(_Document, frozen=True, kw_only=True):
    kind: str
    name: str
    broker: str
    state: str
    error: str | None

    @classmethod
    def of(cls, source: SourceStatus) -> SourceDocument:
        return cls(
            kind=source.kind,
            name=source.key,
            broker=source.broker,
            state=source.state,
            error=source.error,
        )


class ManifestProblem(_Document, frozen=True, kw_only=True):
    """One thing that is wrong in the manifests. ``line`` is counted from 1."""

    file: str | None
    line: int | None
    subject: str
    path: str
    message: str
    severity: str

    @classmethod
    def of(cls, problem: Problem) -> ManifestProblem:
        return cls(
            file=None if problem.file is None else str(problem.file),
            line=problem.line,
            subject=problem.subject,
            path=problem.path,
            message=problem.message,
            severity=problem.severity,
        )


class StatusDocument(_Document, frozen=True, kw_only=True):
    brokers: Sequence[BrokerDocument]
    sources: Sequence[SourceDocument]
    problems: Sequence[ManifestProblem]

    @classmethod
    def of(cls, status: MeshStatus) -> StatusDocument:
        return cls(
            brokers=[BrokerDocument.of(broker) for broker in status.brokers],
            sources=[SourceDocument.of(source) for source in status.sources],
            problems=[ManifestProblem.of(problem) for problem in status.problems],
        )


class EventSummary(_Document, frozen=True, kw_only=True):
    id: str
    source: str
    type: str
    subject: str | None


class RefusalSummary(_Document, frozen=True, kw_only=True):
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
        try:
            text = why.body.decode()
        except UnicodeDecodeError:
            text = None
        return cls(
            destination=why.destination,
            reason=why.reason,
            status=why.status,
            attempts=why.attempts,
            body=b64encode(why.body).decode(),
            body_text=text,
        )


class DeadLetterSummary(_Document, frozen=True, kw_only=True):
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


class DeadLetterPage(_Document, frozen=True, kw_only=True):
    """``next`` is what to pass as ``after`` for the page that follows; None on the last."""

    dead_letters: Sequence[DeadLetterSummary]
    next: str | None


class DeadLetterDocument(_Document, frozen=True, kw_only=True):
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


class RedriveRequest(_Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to redrive: exactly one of the three."""

    ids: Sequence[str] | None = None
    trigger: str | None = None
    all: bool | None = None


class RedrivenDocument(_Document, frozen=True, kw_only=True):
    """What became of a redrive: ``kept`` says why the others stay."""

    redriven: Sequence[str]
    kept: dict[str, str]

    @classmethod
    def of(cls, result: Redriven) -> RedrivenDocument:
        return cls(redriven=result.redriven, kept=dict(result.kept))
