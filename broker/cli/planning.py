"""Compares what triggers get with what they would get: events in, numbers and examples out.

Nothing here talks to a mesh. Memory does not grow with the number of events: they are counted,
and a few of them kept as examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from broker.filters import Clause, Filter, FilterIndex, explain
from broker.ports import Stored

Change = Literal["none", "filter", "new", "removed", "arrives", "leaves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """The broker that a trigger is on, and what it filters on."""

    broker: str
    filter: Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One trigger of a broker, as it is now and as it would be.

    Where a filter is None, the trigger is not there. ``elsewhere`` is the broker that it comes
    from or goes to, if there is one.
    """

    name: str
    now: Filter | None
    proposed: Filter | None
    elsewhere: str | None = None

    @property
    def change(self) -> Change:
        if self.now is None:
            return "new" if self.elsewhere is None else "arrives"
        if self.proposed is None:
            return "removed" if self.elsewhere is None else "leaves"
        return "none" if self.now == self.proposed else "filter"


def pairs(
    broker: str, now: Mapping[str, Subscribed], proposed: Mapping[str, Subscribed]
) -> list[Pair]:
    """Return the triggers that are, or would be, on the broker; those that run now come first.

    ``now`` and ``proposed`` are the triggers of all brokers, by name.
    """
    found = []
    for name in dict.fromkeys((*now, *proposed)):
        both = [now.get(name), proposed.get(name)]
        here = [each.filter if each and each.broker == broker else None for each in both]
        if here != [None, None]:
            others = (each.broker for each in both if each and each.broker != broker)
            pair = Pair(name=name, now=here[0], proposed=here[1], elsewhere=next(others, None))
            found.append(pair)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One event that a trigger would get, or get no more. ``clauses`` would keep it out."""

    stored: Stored
    clauses: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerPlan:
    """What a trigger gets now and would get of the same events.

    ``more`` and ``fewer`` are of sets: a trigger may lose some events and gain as many others.
    """

    name: str
    change: Change
    elsewhere: str | None
    now: int
    proposed: int
    more: int
    fewer: int
    gained: Sequence[Example]
    lost: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPlan:
    """What becomes of a broker and its triggers.

    ``events`` is how many were compared, beside which there were ``redrives``, which no filter
    decides about; None where the broker does not run yet. ``since`` is when the oldest of them
    was accepted if ``complete`` is False, and otherwise what was asked for; None where there is
    none any more.
    """

    name: str
    runs: bool
    proposed: bool
    since: datetime | None
    complete: bool
    events: int | None
    redrives: int
    triggers: Sequence[TriggerPlan]


class Comparison:
    """Takes in events one by one, and tells what they are to the triggers of their broker."""

    def __init__(self, triggers: Sequence[Pair], *, examples: int) -> None:
        self._triggers = triggers
        self._now = FilterIndex()
        self._proposed = FilterIndex()
        self._unchanged = FilterIndex()
        for each in triggers:
            if each.now is not None and each.now == each.proposed:
                self._unchanged.put(each.name, each.now)
                continue
            if each.now is not None:
                self._now.put(each.name, each.now)
            if each.proposed is not None:
                self._proposed.put(each.name, each.proposed)
        self._tallies = {
            each.name: _Tally(gained=_Examples(examples), lost=_Examples(examples))
            for each in triggers
        }

    def take(self, stored: Stored) -> None:
        """Count an event, which must not be a redrive: those pass no filter."""
        attributes = stored.event.attributes
        for name in self._unchanged.matching(attributes):
            self._tallies[name].both += 1
        had = set(self._now.matching(attributes))
        gets = set(self._proposed.matching(attributes))
        for name in had & gets:
            self._tallies[name].both += 1
        for name in gets - had:
            self._tallies[name].gained.see(stored)
        for name in had - gets:
            self._tallies[name].lost.see(stored)

    def result(self) -> list[TriggerPlan]:
        """Return what has been found so far, in the order of the triggers."""
        return [self._plan(each, self._tallies[each.name]) for each in self._triggers]

    def _plan(self, trigger: Pair, tally: _Tally) -> TriggerPlan:
        more, fewer = tally.gained.seen, tally.lost.seen
        return TriggerPlan(
            name=trigger.name,
            change=trigger.change,
            elsewhere=trigger.elsewhere,
            now=tally.both + fewer,
            proposed=tally.both + more,
            more=more,
            fewer=fewer,
            gained=[Example(stored=each) for each in tally.gained.kept],
            lost=[Example(stored=each, clauses=_why(trigger, each)) for each in tally.lost.kept],
        )


def _why(trigger: Pair, lost: Stored) -> tuple[Clause, ...]:
    if trigger.proposed is None:
        return ()
    return explain(trigger.proposed, lost.event.attributes)


@dataclass(slots=True)
class _Examples:
    """Counts events, and keeps ``limit`` of them: the first, but of as many types as there are."""

    limit: int
    seen: int = 0
    kept: list[Stored] = field(default_factory=list)
    _types: set[str] = field(default_factory=set)

    def see(self, stored: Stored) -> None:
        self.seen += 1
        if len(self.kept) == self.limit:
            if len(self._types) == self.limit or stored.event.type in self._types:
                return
            self._drop_a_repeated_type()
        self._types.add(stored.event.type)
        self.kept.append(stored)

    def _drop_a_repeated_type(self) -> None:
        types = [each.event.type for each in self.kept]
        repeated = (index for index, each in enumerate(types) if each in types[:index])
        del self.kept[max(repeated)]


@dataclass(slots=True)
class _Tally:
    gained: _Examples
    lost: _Examples
    both: int = 0
