"""The stories of events: what came in, what each trigger made of it, and what became of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from broker.admin.models.base import Document, told
from broker.admin.models.events import ClauseDocument
from broker.event import Value
from broker.observe.stories.telling import TriggerStory
from broker.ports import Origin
from broker.ports.stories import AcceptedEntry, AttemptEntry, Became, DecisionEntry, Outcome
from broker.status import Phase


class EventName(Document, frozen=True, kw_only=True):
    source: str
    id: str

    @classmethod
    def of(cls, pair: tuple[str, str]) -> EventName:
        return cls(source=pair[0], id=pair[1])


class OriginDocument(Document, frozen=True, kw_only=True):
    """How an event came in, by ``who``; ``cause`` is the event that a reply is to."""

    kind: Literal["request", "source", "reply", "redrive", "announcement"]
    who: str
    cause: EventName | None

    @classmethod
    def of(cls, origin: Origin) -> OriginDocument:
        cause = None if origin.cause is None else EventName.of(origin.cause)
        return cls(kind=origin.kind, who=origin.who, cause=cause)


class AcceptedDocument(Document, frozen=True, kw_only=True):
    at: datetime
    broker: str
    origin: OriginDocument

    @classmethod
    def of(cls, entry: AcceptedEntry) -> AcceptedDocument:
        return cls(at=entry.at, broker=entry.broker, origin=OriginDocument.of(entry.origin))


class AttemptDocument(Document, frozen=True, kw_only=True, tag_field="step", tag="attempt"):
    """An attempt. ``body`` is base64, ``body_text`` the same where it is UTF-8.

    ``trace`` is its span, where traces are on: a ``traceparent`` of W3C Trace Context.
    """

    at: datetime
    to: Literal["subscriber", "dead-letter sink"]
    destination: str
    number: int
    seconds: float
    verdict: Literal["delivered", "retry", "give up"]
    status: int | None
    headers: Sequence[tuple[str, str]]
    body: str
    body_text: str | None
    reason: str | None
    reply: EventName | None
    untried: bool
    trace: str | None

    @classmethod
    def of(cls, entry: AttemptEntry) -> AttemptDocument:
        body, text = told(entry.body)
        return cls(
            at=entry.at,
            to=entry.to,
            destination=entry.destination,
            number=entry.number,
            seconds=entry.seconds,
            verdict=entry.verdict,
            status=entry.status,
            headers=entry.headers,
            body=body,
            body_text=text,
            reason=entry.reason,
            reply=None if entry.reply is None else EventName.of(entry.reply),
            untried=entry.untried,
            trace=entry.trace,
        )


class DecisionDocument(Document, frozen=True, kw_only=True, tag_field="step", tag="decision"):
    """What became of it: for ``waits``, ``until`` when."""

    at: datetime
    became: Became
    until: datetime | None
    attempts: int
    reason: str | None

    @classmethod
    def of(cls, entry: DecisionEntry) -> DecisionDocument:
        return cls(
            at=entry.at,
            became=entry.became,
            until=entry.until,
            attempts=entry.attempts,
            reason=entry.reason,
        )


class TriggerOutcome(Document, frozen=True, kw_only=True):
    """How far a trigger has come with an event; ``outcome`` is null where nothing tells yet."""

    name: str
    outcome: Outcome | None
    attempts: int
    until: datetime | None
    reason: str | None

    @classmethod
    def of(cls, trigger: str, story: TriggerStory) -> TriggerOutcome:
        return cls(
            name=trigger,
            outcome=story.outcome,
            attempts=story.attempts,
            until=story.until,
            reason=story.reason,
        )


class StorySummary(Document, frozen=True, kw_only=True):
    """An event in a list. ``at`` is when the last was noted of it.

    ``accepted`` is null where it came in by another process, or no sample was taken of it.
    """

    source: str
    id: str
    type: str
    at: datetime
    accepted: AcceptedDocument | None
    triggers: Sequence[TriggerOutcome]


class StoryPage(Document, frozen=True, kw_only=True):
    """``next`` is what to pass as ``before`` for the page that follows; null on the last.

    A page may have fewer events than were asked for, or none, and one that follows nonetheless.
    """

    events: Sequence[StorySummary]
    next: datetime | None


class TriggerStoryDocument(TriggerOutcome, frozen=True, kw_only=True):
    """The whole story of an event with one trigger.

    ``matches`` is by its filter as it is now, null where the event is not kept any more or the
    trigger is gone; ``clauses`` say why not. ``state`` and ``why`` are what the trigger does now.
    """

    matches: bool | None
    clauses: Sequence[ClauseDocument]
    state: Phase | None
    why: str | None
    steps: Sequence[AttemptDocument | DecisionDocument]


class StoryDocument(Document, frozen=True, kw_only=True):
    """The story of an event, as far as this mesh, or this part of one, has noted it.

    ``event`` has its attributes, as in the structured JSON format, while a broker keeps it, and
    ``event_missing`` says why they are not there. ``reply_to`` is the event that it is a reply to,
    ``replies`` are those to it.
    """

    source: str
    id: str
    event: Mapping[str, Value] | None
    event_missing: str | None
    accepted: Sequence[AcceptedDocument]
    triggers: Sequence[TriggerStoryDocument]
    reply_to: EventName | None
    replies: Sequence[EventName]


class StoriesDocument(Document, frozen=True, kw_only=True):
    """The stories of all events with that id: several, where several sources have it."""

    stories: Sequence[StoryDocument]


def steps_of(
    steps: Iterable[AttemptEntry | DecisionEntry],
) -> Sequence[AttemptDocument | DecisionDocument]:
    """Return the steps as documents."""
    return [
        AttemptDocument.of(each) if isinstance(each, AttemptEntry) else DecisionDocument.of(each)
        for each in steps
    ]
