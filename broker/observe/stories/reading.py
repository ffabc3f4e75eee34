"""Finds entries in blocks, the latest first; most blocks need not be read for that."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from broker.observe.stories.blocks import FLAGS, Rows, key_of, keys_in, word_of
from broker.ports.stories import (
    AcceptedEntry,
    AttemptEntry,
    DecisionEntry,
    Entry,
    Found,
    FoundPage,
    Outcome,
    Wanted,
)

_LOOKED_AT: Final = 400
"""Blocks that one search reads at most: half a second."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEW: Final = 16


def entries_of(file: sqlite3.Connection, ids: Collection[str]) -> list[Entry]:
    """Return all entries of events with these ids, in order of time."""
    wanted = set(ids)
    keys = {key_of(each) for each in wanted}
    words = [word_of(key) for key in keys] if len(keys) <= _FEW else None
    blocks = [
        block
        for block, found in file.execute("SELECT id, keys FROM block")
        if (
            not keys.isdisjoint(keys_in(found))
            if words is None
            else any(word in found for word in words)
        )
    ]
    entries: list[Entry] = []
    for block in blocks:
        names, rows = file.execute(
            "SELECT names, rows FROM block WHERE id = ?", (block,)
        ).fetchone()
        entries += Rows(names, rows).of(wanted)
    return sorted(entries, key=lambda entry: entry.at)


def search(file: sqlite3.Connection, wanted: Wanted, limit: int) -> FoundPage:
    """Return what is wanted, the latest first."""
    found: dict[tuple[str, str], Found] = {}
    for looked_at, (last, names, rows) in enumerate(_blocks(file, wanted)):
        reached = _moment(last)
        if len(found) >= limit and reached < _last_of(found, limit).at:
            return _page(found, limit)
        if looked_at >= _LOOKED_AT:
            # Entries of blocks that were not looked at can be as late as that.
            known = [each for each in found.values() if each.at > reached]
            return FoundPage(found=_sorted(known), reached=reached + timedelta(microseconds=1))
        for entry in Rows(names, rows).latest_first():
            if matches(entry, wanted):
                key = entry.source, entry.id
                known_at = found.get(key)
                if known_at is None or known_at.at < entry.at:
                    found[key] = Found(at=entry.at, source=entry.source, id=entry.id)
    if len(found) > limit:
        return _page(found, limit)
    return FoundPage(found=_sorted(found.values()), reached=None)


def _page(found: dict[tuple[str, str], Found], limit: int) -> FoundPage:
    """Return the first so many, with all that are of the same moment as the last of them."""
    last = _last_of(found, limit).at
    page = [each for each in found.values() if each.at >= last]
    return FoundPage(found=_sorted(page), reached=last)


def _last_of(found: dict[tuple[str, str], Found], limit: int) -> Found:
    return _sorted(found.values())[limit - 1]


def _sorted(found: Collection[Found]) -> Sequence[Found]:
    return sorted(found, key=lambda each: (each.at, each.source, each.id), reverse=True)


def _blocks(file: sqlite3.Connection, wanted: Wanted) -> Iterator[tuple[int, bytes, bytes]]:
    """Return the last time, the names and the rows of blocks that may have what is wanted."""
    conditions: list[tuple[str, object]] = []
    if wanted.since is not None:
        conditions.append(("last >= ?", _microseconds(wanted.since)))
    if wanted.before is not None:
        conditions.append(("first < ?", _microseconds(wanted.before)))
    if wanted.outcome is not None:
        conditions.append(("flags & ?", FLAGS[wanted.outcome]))
    texts = [each for each in (wanted.id, wanted.source, wanted.type) if each is not None]
    conditions += [("instr(names, ?)", each.encode("utf-8", "replace")) for each in texts]
    where = " AND ".join(condition for condition, _ in conditions) or "1"
    query = f"SELECT last, names, rows FROM block WHERE {where} ORDER BY last DESC"  # noqa: S608 - of the texts above
    yield from file.execute(query, [value for _, value in conditions])


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


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
