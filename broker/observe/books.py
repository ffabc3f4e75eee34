"""What a mesh knows of its brokers, triggers and processes, as lines of a scrape."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from typing import get_args

from broker.observe import families
from broker.status import MeshStatus, Phase, TriggerStatus


def books(status: MeshStatus, now: datetime) -> Iterator[str]:
    """Yield the lines of brokers and triggers, of which age is told as of ``now``."""
    brokers = status.brokers
    yield from families.AVAILABLE.lines(([each.key], each.unavailable is None) for each in brokers)
    if status.is_whole:
        yield from families.ACCEPTED.lines(([each.key], each.accepted) for each in brokers)
    triggers = [trigger for broker in brokers for trigger in broker.triggers]
    if status.is_whole:
        yield from _accounts(triggers, now)
    yield from families.IN_FLIGHT.lines(([each.key], each.in_flight) for each in triggers)
    yield from families.PARKED.lines(([each.key], each.parked) for each in triggers)
    yield from families.TRIGGER_STATE.lines(
        ([each.key, phase], each.state.phase == phase)
        for each in triggers
        for phase in get_args(Phase)
    )


def _accounts(triggers: list[TriggerStatus], now: datetime) -> Iterator[str]:
    of = [(each.key, each.books) for each in triggers]
    yield from families.MATCHED.lines(([key], each.matched) for key, each in of)
    yield from families.DELIVERED.lines(([key], each.delivered) for key, each in of)
    yield from families.DEAD_LETTERED.lines(([key], each.dead_lettered) for key, each in of)
    yield from families.WAITING.lines(([key], each.waiting) for key, each in of)
    yield from families.OLDEST_WAITING.lines(
        ([key], age(each.oldest_waiting, now) or 0.0) for key, each in of
    )
    yield from families.UNACCOUNTED.lines(([key], each.unaccounted) for key, each in of)


def processes(status: MeshStatus) -> Iterator[str]:
    """Yield the lines of what runs, and of the files that say so."""
    yield from families.PROBLEMS.lines([([], len(status.problems))])
    if status.unfollowed is not None:
        yield from families.FOLLOWED.lines([([], not status.unfollowed)])
    yield from families.WORKER.lines(
        ([str(each.number)], each.state == "running") for each in status.workers
    )
    yield from families.BUILD.lines([([version("cemesh")], 1)])


def age(since: datetime | None, now: datetime) -> float | None:
    """Return how many seconds ago that was; never less than none, whatever the clocks say."""
    return None if since is None else max(0.0, (now - since).total_seconds())
