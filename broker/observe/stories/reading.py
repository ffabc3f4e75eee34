"""Finds entries in blocks, the latest first; most blocks need not be read for that."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Final

from broker.observe.stories.format import FLAGS, key_of, keys_in, microseconds, moment, word_of
from broker.observe.stories.rows import Rows
from broker.ports.stories import (
    Entry,
    Found,
    FoundPage,
    Wanted,
)

_LOOKED_AT: Final = 200
"""Blocks that one search reads at most: half a second."""

_FEW: Final = 16


def entries_of(file: sqlite3.Connection, ids: Collection[str]) -> list[Entry]:
    """Return all entries of events with these ids, in order of time."""
    wanted = set(ids)
    keys = {key_of(each.encode("utf-8", "replace")) for each in wanted}
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
        reached = moment(last)
        if len(found) >= limit and reached < _last_of(found, limit).at:
            return _page(found, limit)
        if looked_at >= _LOOKED_AT:
            # Entries of blocks that were not looked at can be as late as that.
            latest = [each for each in found.values() if each.at > reached]
            return FoundPage(found=_sorted(latest), reached=reached + timedelta(microseconds=1))
        for each in Rows(names, rows).found(wanted):
            known = found.setdefault((each.source, each.id), each)
            if known.at < each.at:
                found[each.source, each.id] = each
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
    conditions: list[tuple[str, Sequence[object]]] = []
    if wanted.since is not None:
        conditions.append(("last >= ?", [microseconds(wanted.since)]))
    if wanted.before is not None:
        conditions.append(("first < ?", [microseconds(wanted.before)]))
    if wanted.outcome is not None:
        conditions.append(("flags & ?", [FLAGS[wanted.outcome]]))
    if wanted.id is not None:
        word = word_of(key_of(wanted.id.encode("utf-8", "replace")))
        conditions.append(("instr(keys, ?)", [word]))
    texts = [each for each in (wanted.source, wanted.type) if each is not None]
    conditions += [_has_any_of([each]) for each in texts]
    if wanted.triggers is not None and len(wanted.triggers) < _FEW:
        conditions.append(_has_any_of([*wanted.triggers, *filter(None, [wanted.broker])]))
    where = " AND ".join(condition for condition, _ in conditions) or "1"
    query = f"SELECT last, names, rows FROM block WHERE {where} ORDER BY last DESC"  # noqa: S608 - of the texts above
    yield from file.execute(query, [value for _, values in conditions for value in values])


def _has_any_of(texts: Sequence[str]) -> tuple[str, Sequence[object]]:
    """Return the condition that one of these may be among the names of a block."""
    either = " OR ".join("instr(names, ?)" for _ in texts) or "0"
    return f"({either})", [each.encode("utf-8", "replace") for each in texts]
