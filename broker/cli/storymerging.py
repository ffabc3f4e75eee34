"""One story of what several processes tell of an event: of parts that run apart, say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import reduce

from msgspec.structs import replace

from broker.admin.models import StoriesDocument, StoryDocument, TriggerStoryDocument


def merged(told: Iterable[StoriesDocument]) -> StoriesDocument:
    """Return the stories that these come to."""
    of_event: dict[tuple[str, str], list[StoryDocument]] = {}
    for document in told:
        for story in document.stories:
            of_event.setdefault((story.source, story.id), []).append(story)
    return StoriesDocument(stories=[reduce(_story, each) for each in of_event.values()])


def _story(one: StoryDocument, other: StoryDocument) -> StoryDocument:
    of_trigger: dict[str, list[TriggerStoryDocument]] = {}
    for each in (*one.triggers, *other.triggers):
        of_trigger.setdefault(each.name, []).append(each)
    kept = one if one.event is not None else other
    triggers = [reduce(_trigger, each) for each in of_trigger.values()]
    return replace(
        kept,
        accepted=sorted([*one.accepted, *other.accepted], key=lambda each: each.at),
        triggers=sorted(triggers, key=lambda each: (not each.steps, not each.matches, each.name)),
        reply_to=one.reply_to or other.reply_to,
        replies=list(dict.fromkeys([*one.replies, *other.replies])),
    )


def _trigger(one: TriggerStoryDocument, other: TriggerStoryDocument) -> TriggerStoryDocument:
    """Return what both have to tell; how far it has come is told by the one with the last step."""
    first, last = sorted((one, other), key=_last)
    return replace(
        last,
        matches=first.matches if last.matches is None else last.matches,
        clauses=last.clauses or first.clauses,
        state=last.state or first.state,
        why=last.why or first.why,
        steps=sorted([*one.steps, *other.steps], key=lambda each: each.at),
    )


def _last(trigger: TriggerStoryDocument) -> tuple[bool, Sequence[datetime]]:
    return bool(trigger.steps), [each.at for each in trigger.steps[-1:]]
