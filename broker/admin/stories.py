"""The stories of events over the admin API: searched, and told whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final, cast, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.deadletters import page_limit
from broker.admin.events import moment_in
from broker.admin.models import (
    AcceptedDocument,
    ClauseDocument,
    EventName,
    StoriesDocument,
    StoryDocument,
    StoryPage,
    StorySummary,
    TriggerOutcome,
    TriggerStoryDocument,
    steps_of,
)
from broker.admin.responses import document
from broker.errors import ChannelUnavailable, UnknownBroker, UnknownTrigger
from broker.event import Event, shown
from broker.filters import explain
from broker.observe.stories.choosing import matches
from broker.observe.stories.telling import TriggerStory, by_event, stories_of_triggers
from broker.ports.stories import (
    AcceptedEntry,
    AttemptEntry,
    Entry,
    Found,
    Outcome,
    Stories,
    Wanted,
)
from broker.status import Operated, TriggerState
from broker.trigger import Trigger

_OUTCOMES: Final[Sequence[Outcome]] = get_args(Outcome)
_EARLIER: Final = timedelta(seconds=2)
"""How much earlier than it is noted an event may have been accepted by the clock of its channel."""

_PAGE: Final = 100


class StoryRoutes:
    """The routes ``/api/v1/stories`` and ``/api/v1/story``."""

    def __init__(self, mesh: Operated, stories: Stories | None) -> None:
        self._mesh = mesh
        self._stories = stories

    async def search(self, request: Request) -> Response:
        """List the events that the query asks for, those with the latest news first."""
        wanted = self._wanted(request)
        stories = self._kept()
        page = await stories.search(wanted, limit=page_limit(request))
        entries = by_event(await stories.of({each.id for each in page.found}))
        summaries = [
            _summary(each, entries[each.source, each.id], wanted)
            for each in page.found
            if (each.source, each.id) in entries
        ]
        shown = [each for each in summaries if each is not None]
        return document(StoryPage(events=shown, next=page.reached))

    async def show(self, request: Request) -> Response:
        """Tell the story of all events with the id that the query names."""
        wanted, source = request.query_params.get("id"), request.query_params.get("source")
        if not wanted:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "'id' is missing: name an event by its id")
        found = by_event(await self._kept().of([wanted]))
        told = {key: entries for key, entries in found.items() if source in (None, key[0])}
        if not told:
            raise HTTPException(HTTPStatus.NOT_FOUND, _nothing(wanted, source, found))
        states = await self._states()
        stories = [
            await _Telling(self._mesh, states).story(key, entries) for key, entries in told.items()
        ]
        return document(StoriesDocument(stories=stories))

    def _kept(self) -> Stories:
        if self._stories is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, "no stories are kept here: --stories-size is 0"
            )
        return self._stories

    def _wanted(self, request: Request) -> Wanted:
        query = request.query_params
        broker, trigger, outcome = (query.get(each) for each in ("broker", "trigger", "outcome"))
        if outcome is not None and outcome not in _OUTCOMES:
            detail = f"'outcome' is '{shown(outcome)}'; it must be one of {', '.join(_OUTCOMES)}"
            raise HTTPException(HTTPStatus.BAD_REQUEST, detail)
        triggers = None
        if trigger is not None:
            broker, triggers = None, [trigger]
        elif broker is not None:
            triggers = [each.key for each in self._mesh.triggers(broker)]
        return Wanted(
            id=query.get("id"),
            source=query.get("source"),
            type=query.get("type"),
            broker=broker,
            triggers=triggers,
            outcome=cast("Outcome | None", outcome),
            since=moment_in(request, "since"),
            before=moment_in(request, "before"),
        )

    async def _states(self) -> Mapping[str, TriggerState]:
        status = await self._mesh.status()
        return {each.key: each.state for broker in status.brokers for each in broker.triggers}


def _nothing(id: str, source: str | None, found: Iterable[tuple[str, str]]) -> str:
    others = ", ".join(f"'{shown(each)}'" for each, _ in found)
    if source is not None and others:
        return f"'{shown(source)}' has sent nothing with the id '{shown(id)}', but {others} has"
    return (
        f"nothing is noted of an event with the id '{shown(id)}': it never came here, or is older "
        "than what is kept"
    )


def _summary(found: Found, entries: Sequence[Entry], wanted: Wanted) -> StorySummary | None:
    """Return how far the event has come; None where it is not, or no more, what is wanted."""
    if wanted.before is not None:
        behind = replace(wanted, before=None, since=wanted.before)
        if any(matches(each, behind) for each in entries):
            return None  # by something later, it was on a page before
    triggers = stories_of_triggers(entries)
    if wanted.outcome is not None and not any(
        story.outcome == wanted.outcome
        for trigger, story in triggers.items()
        if wanted.triggers is None or trigger in wanted.triggers
    ):
        return None
    accepted = [each for each in entries if isinstance(each, AcceptedEntry)]
    return StorySummary(
        source=found.source,
        id=found.id,
        type=entries[-1].type,
        at=found.at,
        accepted=AcceptedDocument.of(accepted[0]) if accepted else None,
        triggers=[TriggerOutcome.of(*each) for each in sorted(triggers.items())],
    )


class _Telling:
    """Puts together what is noted, what the brokers keep, and what triggers make of that."""

    def __init__(self, mesh: Operated, states: Mapping[str, TriggerState]) -> None:
        self._mesh = mesh
        self._states = states

    async def story(self, name: tuple[str, str], entries: Sequence[Entry]) -> StoryDocument:
        accepted = [each for each in entries if isinstance(each, AcceptedEntry)]
        noted = stories_of_triggers(entries)
        brokers = dict.fromkeys([*(each.broker for each in accepted), *self._brokers_of(noted)])
        kept: dict[str, Event] = {}
        missing: str | None = None
        for broker in brokers:
            try:
                event = await self._kept_by(broker, name, _since(entries))
            except (ChannelUnavailable, UnknownBroker) as error:
                missing = str(error)
            else:
                if event is not None:
                    kept[broker] = event
        if not kept and missing is None:
            missing = "no broker keeps the event any more"
        # Beside the loop, which events come in by: a thousand triggers take some 40 ms.
        triggers = await asyncio.to_thread(self._triggers, kept, noted)
        causes = [each.origin.cause for each in accepted if each.origin.cause is not None]
        replies = [each.reply for each in entries if isinstance(each, AttemptEntry) and each.reply]
        return StoryDocument(
            source=name[0],
            id=name[1],
            event=next((each.typed for each in kept.values()), None),
            event_missing=None if kept else missing,
            accepted=[AcceptedDocument.of(each) for each in accepted],
            triggers=triggers,
            reply_to=EventName.of(causes[0]) if causes else None,
            replies=[EventName.of(each) for each in dict.fromkeys(replies)],
        )

    def _brokers_of(self, triggers: Iterable[str]) -> Iterable[str]:
        found = filter(None, map(self._trigger, triggers))
        return [each.broker for each in found]

    def _trigger(self, key: str) -> Trigger | None:
        try:
            return self._mesh.trigger(key)
        except UnknownTrigger:
            return None

    async def _kept_by(self, broker: str, name: tuple[str, str], since: datetime) -> Event | None:
        """Return the newest event of that name that the broker keeps."""
        source, wanted = name
        channel = self._mesh.channel(broker)
        newest: Event | None = None
        after: str | None = None
        while True:
            page = await channel.history(since=since, id=wanted, after=after, limit=_PAGE)
            for each in page:
                if each.event.source == source:
                    newest = each.event
            if len(page) < _PAGE:
                return newest
            after = page[-1].position

    def _triggers(
        self, kept: Mapping[str, Event], noted: Mapping[str, TriggerStory]
    ) -> Sequence[TriggerStoryDocument]:
        """Return what each trigger has to do with it: those that have done anything first."""
        told = [
            self._trigger_story(trigger, noted.get(trigger.key), event)
            for broker, event in kept.items()
            for trigger in self._mesh.triggers(broker)
        ]
        known = {each.name for each in told}
        told += [
            self._trigger_story(self._trigger(key) or key, story, None)
            for key, story in noted.items()
            if key not in known
        ]
        return sorted(told, key=lambda each: (not each.steps, not each.matches, each.name))

    def _trigger_story(
        self, trigger: Trigger | str, story: TriggerStory | None, event: Event | None
    ) -> TriggerStoryDocument:
        key = trigger if isinstance(trigger, str) else trigger.key
        story = story or TriggerStory()
        state = self._states.get(key)
        matches = None
        clauses: Sequence[ClauseDocument] = ()
        if event is not None and not isinstance(trigger, str):
            matches = trigger.filter.matches(event.attributes)
            clauses = [
                ClauseDocument.of(each) for each in explain(trigger.filter, event.attributes)
            ]
        return TriggerStoryDocument(
            name=key,
            outcome=story.outcome,
            attempts=story.attempts,
            until=story.until,
            reason=story.reason,
            matches=matches,
            clauses=clauses,
            state=None if state is None else state.phase,
            why=None if state is None else state.why,
            steps=steps_of(story.steps),
        )


def _since(entries: Sequence[Entry]) -> datetime:
    """Return since when the event may have been stored, as far as the entries tell."""
    times = [each.accepted_at if isinstance(each, AttemptEntry) else each.at for each in entries]
    return min(times) - _EARLIER
