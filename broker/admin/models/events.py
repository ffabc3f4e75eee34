"""Events that a broker keeps, and which triggers they match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import UNSET, Raw, UnsetType, convert

from broker.admin.models.base import Document
from broker.codecs.json import encode_event
from broker.event import Event, Value
from broker.filters import Clause, explain
from broker.ports import Stored
from broker.trigger import Target, Trigger
from broker.urls import without_credentials


class StoredDocument(Document, frozen=True, kw_only=True):
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


class EventsPage(Document, frozen=True, kw_only=True):
    """``next`` is what to pass as ``after`` for the page that follows; None on the last."""

    events: Sequence[StoredDocument]
    next: str | None


class TriggerFilters(Document, frozen=True, kw_only=True):
    """What a trigger filters on, as in its manifest: ``filters``, or the older ``filter``.

    ``dead_letter_sink`` is None where the broker's own store takes dead letters, ``reply`` where
    the broker itself takes what the subscriber replies.
    """

    name: str
    subscriber: str
    dead_letter_sink: str | None = None
    reply: str | None = None
    filters: Sequence[dict[str, object]] | UnsetType = UNSET
    filter: dict[str, object] | UnsetType = UNSET

    @classmethod
    def of(cls, trigger: Trigger) -> TriggerFilters:
        # Not above: it takes a sixth of a second to import, and only the server has use for it.
        from broker.manifest.filters import spec_of

        described = {
            "name": trigger.key,
            "subscriber": without_credentials(trigger.subscriber.url),
            "deadLetterSink": _url(trigger.delivery.dead_letter),
            "reply": _url(trigger.delivery.reply),
            **spec_of(trigger.filter),
        }
        return convert(described, cls)


def _url(target: Target | None) -> str | None:
    return None if target is None else without_credentials(target.url)


class TriggersDocument(Document, frozen=True, kw_only=True):
    triggers: Sequence[TriggerFilters]

    @classmethod
    def of(cls, triggers: Iterable[Trigger]) -> TriggersDocument:
        return cls(triggers=[TriggerFilters.of(each) for each in triggers])


class ClauseDocument(Document, frozen=True, kw_only=True):
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


class TriggerExplanation(Document, frozen=True, kw_only=True):
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


class ExplanationDocument(Document, frozen=True, kw_only=True):
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
