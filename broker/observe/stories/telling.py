"""What entries come to: how far each trigger has come with an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.ports.stories import AcceptedEntry, AttemptEntry, DecisionEntry, Entry, Outcome


@dataclass(slots=True, kw_only=True)
class TriggerStory:
    """How a trigger has come out with one event, as far as is noted.

    ``outcome`` is None where nothing is noted that leads to one. ``attempts`` are those at its
    subscriber since the event came in, or was redriven, last. ``until`` is when the next one is
    due, ``reason`` the last refusal's, where it has not been delivered.
    """

    outcome: Outcome | None = None
    attempts: int = 0
    until: datetime | None = None
    reason: str | None = None
    steps: list[AttemptEntry | DecisionEntry] = field(default_factory=list)


def stories_of_triggers(entries: Iterable[Entry]) -> Mapping[str, TriggerStory]:
    """Return the story of each trigger that the entries, all of one event, tell of."""
    stories: dict[str, TriggerStory] = {}
    for entry in sorted(entries, key=_noted_at):
        if isinstance(entry, AcceptedEntry):
            if entry.origin.kind == "redrive":
                _begin_again(stories.setdefault(entry.origin.who, TriggerStory()))
        else:
            story = stories.setdefault(entry.trigger, TriggerStory())
            story.steps.append(entry)
            if isinstance(entry, AttemptEntry):
                _attempt(story, entry)
            else:
                _decision(story, entry)
    return stories


def by_event(entries: Iterable[Entry]) -> Mapping[tuple[str, str], Sequence[Entry]]:
    """Return the entries of each event, by its source and id."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.source, entry.id), []).append(entry)
    return found


def _noted_at(entry: Entry) -> datetime:
    if isinstance(entry, AttemptEntry):
        return entry.at + timedelta(seconds=entry.seconds)
    return entry.at


def _begin_again(story: TriggerStory) -> None:
    story.outcome, story.attempts, story.until, story.reason = "waiting", 0, None, None


def _attempt(story: TriggerStory, entry: AttemptEntry) -> None:
    if entry.to == "subscriber" and not entry.untried:
        story.attempts = entry.number
    if entry.verdict != "delivered":
        story.reason = entry.reason
    elif entry.to == "subscriber":
        story.outcome, story.until, story.reason = "delivered", None, None


def _decision(story: TriggerStory, entry: DecisionEntry) -> None:
    story.until = entry.until
    story.reason = entry.reason or story.reason
    match entry.became:
        case "waits":
            story.outcome = "waiting"
        case "retried":
            _begin_again(story)
        case "parked":
            story.outcome = "parked"
        case "dead-lettered" | "buried":
            story.outcome = "dead-lettered"
