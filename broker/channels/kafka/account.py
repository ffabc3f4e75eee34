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

    What was put off, and has not come back, is on its way. What came back that no place has put
    off counts as one more match.
    """
    matched = delivered = dead_lettered = waiting = 0
    ats: list[int] = []
    for events, delays in shares:
        places = [events, *delays]
        on_its_way = _on_its_way(events, delays)
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


def count_again(places: Places) -> None:
    """Count what came back that no place has put off as of an event that has come twice.

    There is such after a crash between putting off and storing the place, and where Kafka stored
    what it did not acknowledge: the delivery waits twice, or is repeated at once. If it were not
    counted when it comes, what is put off after it would pass for what is back already.
    """
    events, delays = places
    stored_soon = sum(each.putting_off for each in (events, *delays))
    events.count_again(max(0, -_on_its_way(events, delays) - stored_soon))


def _on_its_way(events: KafkaPlace, delays: Sequence[KafkaPlace]) -> int:
    """Return how many have been put off and are not back; less than none if more came back."""
    return sum(each.put_off for each in (events, *delays)) - sum(each.matched for each in delays)
