"""The documents of the admin API. Both of its ends use them: the server and the command line.

Names are camelCase on the wire, times RFC 3339. A field that is None is sent as ``null``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from msgspec import UNSET, Raw, Struct, UnsetType, convert

from broker.codecs.json import encode_event
from broker.errors import Problem
from broker.event import Event, Value
from broker.filters import Clause, explain
from broker.ports import DeadLetter, Refusal, Stored
from broker.status import BrokerStatus, MeshStatus, Redriven, SourceStatus, TriggerStatus
from broker.trigger import Trigger


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
            subscriber=without_credentials(trigger.subscriber),
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


class TriggerFilters(_Document, frozen=True, kw_only=True):
    """What a trigger filters on, as in its manifest: ``filters``, or the older ``filter``."""

    name: str
    subscriber: str
    filters: Sequence[dict[str, object]] | UnsetType = UNSET
    filter: dict[str, object] | UnsetType = UNSET

    @classmethod
    def of(cls, trigger: Trigger) -> TriggerFilters:
        # Not above: it takes a sixth of a second to import, and only the server has use for it.
        from broker.manifest.filters import spec_of

        subscriber = without_credentials(trigger.subscriber.url)
        described = {"name": trigger.key, "subscriber": subscriber, **spec_of(trigger.filter)}
        return convert(described, cls)


class TriggersDocument(_Document, frozen=True, kw_only=True):
    triggers: Sequence[TriggerFilters]

    @classmethod
    def of(cls, triggers: Iterable[Trigger]) -> TriggersDocument:
        return cls(triggers=[TriggerFilters.of(each) for each in triggers])


class ClauseDocument(_Document, frozen=True, kw_only=True):
    """One condition that kept the event out; ``text`` is the whole of it, for people."""

    path: str
    attribute: str | None
    expected: str
    actual: str | None
    text: str

    @classmethod
    def of(cls, clause: Clause) -> ClauseDocument:
        return cls(
            path=clause.path,
            attribute=clause.attribute,
            expected=clause.expected,
            actual=clause.actual,
            text=str(clause),
        )


class TriggerExplanation(_Document, frozen=True, kw_only=True):
    """Whether an event matches a trigger; ``clauses`` is empty if it does."""

    name: str
    matches: bool
    clauses: Sequence[ClauseDocument]

    @classmethod
    def of(cls, trigger: Trigger, event: Event) -> TriggerExplanation:
        clauses = explain(trigger.filter, event.attributes)
        return cls(
            name=trigger.key,
            matches=trigger.filter.matches(event.attributes),
            clauses=[ClauseDocument.of(each) for each in clauses],
        )


class ExplanationDocument(_Document, frozen=True, kw_only=True):
    """What every trigger of a broker makes of an event.

    ``event`` is the event in the structured JSON format, without its payload. ``at`` is when it
    was stored, None where it is not; ``to`` the only trigger that it was for, whatever the
    filters say, because it was redriven.
    """

    broker: str
    event: Raw
    at: datetime | None
    to: str | None
    triggers: Sequence[TriggerExplanation]

    @classmethod
    def of(
        cls,
        broker: str,
        triggers: Iterable[Trigger],
        event: Event,
        *,
        at: datetime | None = None,
        to: str | None = None,
    ) -> ExplanationDocument:
        return cls(
            broker=broker,
            event=Raw(encode_event(Event(event.attributes, None, event.kinds))),
            at=at,
            to=to,
            triggers=[TriggerExplanation.of(each, event) for each in triggers],
        )


class StoredDocument(_Document, frozen=True, kw_only=True):
    """A stored event, ``event`` being its attributes as in the structured JSON format.

    ``to`` is the one trigger that it is for, whatever the filters say: it was redriven.
    """

    position: str
    at: datetime
    to: str | None
    event: Mapping[str, Value]

    @classmethod
    def of(cls, stored: Stored) -> StoredDocument:
        return cls(
            position=stored.position,
            at=stored.at,
            to=stored.to,
            event=stored.event.typed,
        )


class EventsPage(_Document, frozen=True, kw_only=True):
    """``next`` is what to pass as ``after`` for the page that follows; None on the last."""

    events: Sequence[StoredDocument]
    next: str | None


def without_credentials(url: str) -> str:
    """Return the URL without a user name and a password, where it holds them."""
    authority = urlsplit(url).netloc
    return url.replace(authority, authority.rpartition("@")[2], 1) if "@" in authority else url
