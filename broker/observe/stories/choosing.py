"""Which entries are wanted: of entries, and of the rows that they are stored as."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broker.observe.stories.format import (
    ACCEPTED,
    ATTEMPT,
    DECISION,
    LEADS,
    NONE,
    Row,
    microseconds,
)
from broker.ports.stories import (
    AcceptedEntry,
    AttemptEntry,
    DecisionEntry,
    Entry,
    Outcome,
    Wanted,
)


def matches(entry: Entry, wanted: Wanted) -> bool:
    """Return whether the entry is one of those that are wanted."""
    return (
        (wanted.id is None or entry.id == wanted.id)
        and (wanted.source is None or entry.source == wanted.source)
        and (wanted.type is None or entry.type == wanted.type)
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.before is None or entry.at < wanted.before)
        and (wanted.outcome is None or wanted.outcome == _leads_to(entry))
        and _is_of(entry, wanted)
    )


def _is_of(entry: Entry, wanted: Wanted) -> bool:
    """Return whether the entry is of the broker, or of one of the triggers."""
    if wanted.triggers is None:
        return True
    if isinstance(entry, AcceptedEntry):
        return wanted.broker == entry.broker
    return entry.trigger in wanted.triggers


def _leads_to(entry: Entry) -> Outcome | None:
    match entry:
        case AttemptEntry(verdict="delivered", to="subscriber"):
            return "delivered"
        case DecisionEntry(became="waits" | "retried"):
            return "waiting"
        case DecisionEntry(became="parked"):
            return "parked"
        case DecisionEntry():
            return "dead-lettered"
        case _:
            return None


def chooser(wanted: Wanted, places: Mapping[str, int]) -> Callable[[Row], bool]:
    """Return what tells whether a row is of an entry that is wanted, as `matches` does."""
    name = None if wanted.id is None else wanted.id.encode("utf-8", "replace")
    source = None if wanted.source is None else places.get(wanted.source, NONE)
    of = None if wanted.type is None else places.get(wanted.type, NONE)
    since = None if wanted.since is None else microseconds(wanted.since)
    before = None if wanted.before is None else microseconds(wanted.before)
    triggers: set[int] | None = None
    if wanted.triggers is not None:
        triggers = {places[each] for each in wanted.triggers if each in places}
    broker = places.get(wanted.broker or "", NONE)
    leads = {places[became] for became in LEADS.get(wanted.outcome or "", ()) if became in places}

    def is_of(row: Row) -> bool:
        if triggers is None:
            return True
        if row[0] == ACCEPTED:
            return bool(row[5] == broker)
        return row[8 if row[0] == ATTEMPT else 5] in triggers

    def leads_to_it(row: Row) -> bool:
        if wanted.outcome is None:
            return True
        if wanted.outcome == "delivered":
            return bool(row[0] == ATTEMPT and row[9] == row[11] == 0)
        return row[0] == DECISION and row[6] in leads

    def is_wanted(row: Row) -> bool:
        at, column = row[1], source_in(row)
        return (
            (name is None or row[2] == name)
            and (source is None or row[column] == source)
            and (of is None or row[column + 1] == of)
            and (since is None or at >= since)
            and (before is None or at < before)
            and is_of(row)
            and leads_to_it(row)
        )

    return is_wanted


def source_in(row: Row) -> int:
    """Return where a row has its source; the type is behind it."""
    return 6 if row[0] == ATTEMPT else 3
