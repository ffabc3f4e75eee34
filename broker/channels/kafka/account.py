"""A trigger's books over the places that one process holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from broker.channels.kafka.place import KafkaPlace
from broker.ports import Books

Places = tuple[KafkaPlace, Sequence[KafkaPlace]]
"""The places of a trigger in one share: in its partition of events, and in those of delays."""


def account(shares: Iterable[Places]) -> Books:
    """Return the books of one trigger.

    What was put off, and has not come back, is on its way. A crash between putting off and
    storing the place lets a delivery come back that no place has put off: it counts as one more
    match, since the event it is of will come a second time.
    """
    matched = delivered = dead_lettered = waiting = 0
    ats: list[int] = []
    for events, delays in shares:
        places = [events, *delays]
        on_its_way = sum(each.put_off for each in places) - sum(each.matched for each in delays)
        matched += events.matched + max(0, -on_its_way)
        delivered += sum(each.delivered for each in places)
        dead_lettered += sum(each.dead_lettered for each in places)
        waiting += sum(each.waiting for each in places) + max(0, on_its_way)
        ats += [entry.at for each in places for entry in each.at_hand()]
    return Books(
        matched=matched,
        delivered=delivered,
        dead_lettered=dead_lettered,
        waiting=waiting,
        oldest_waiting=datetime.fromtimestamp(min(ats) / 1e6, UTC) if ats else None,
    )
