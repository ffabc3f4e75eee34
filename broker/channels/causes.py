"""Counts the dead letters of any store by what they were given up for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast

from broker.ports import Cause, CountingDeadLetters, DeadLetter, DeadLetters

_PAGE: Final = 1_000


async def causes_of(letters: DeadLetters) -> Sequence[Cause]:
    """Return how many dead letters there are for each cause, those of which most are first.

    A store that is no `CountingDeadLetters` is read from end to end.
    """
    if hasattr(letters, "causes"):
        causes = await cast("CountingDeadLetters", letters).causes()
    else:
        causes = await _read_through(letters)
    return added_up(causes)


def added_up(causes: Iterable[Cause]) -> Sequence[Cause]:
    """Return each cause once, those of which there are most first."""
    sums: dict[tuple[str, str, int | None], Cause] = {}
    for each in causes:
        key = each.trigger, each.reason, each.status
        known = sums.get(key)
        sums[key] = each if known is None else _sum(known, each)
    return sorted(sums.values(), key=lambda each: (-each.count, each.trigger, each.reason))


def _sum(one: Cause, other: Cause) -> Cause:
    return Cause(
        trigger=one.trigger,
        reason=one.reason,
        status=one.status,
        count=one.count + other.count,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
    )


async def _read_through(letters: DeadLetters) -> Sequence[Cause]:
    causes: Sequence[Cause] = ()
    after: str | None = None
    while True:
        page = await letters.list(after=after, limit=_PAGE)
        causes = added_up([*causes, *map(_cause, page)])
        if len(page) < _PAGE:
            return causes
        after = page[-1].id


def _cause(letter: DeadLetter) -> Cause:
    return Cause(
        trigger=letter.trigger,
        reason=letter.why.reason,
        status=letter.why.status,
        count=1,
        first=letter.buried_at,
        last=letter.buried_at,
    )
