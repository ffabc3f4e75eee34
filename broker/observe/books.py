"""What a mesh knows of its brokers, triggers and processes, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from typing import get_args

from prometheus_client.core import Metric

from broker.observe import families
from broker.status import MeshStatus, Phase, TriggerStatus


def books(status: MeshStatus, now: datetime) -> Iterator[Metric]:
    """Yield the metrics of brokers and triggers, of which age is told as of ``now``."""
    brokers = status.brokers
    yield families.AVAILABLE.metric(([each.key], each.unavailable is None) for each in brokers)
    if status.is_whole:
        yield families.ACCEPTED.metric(([each.key], each.accepted) for each in brokers)
    triggers = [trigger for broker in brokers for trigger in broker.triggers]
    if status.is_whole:
        yield from _accounts(triggers, now)
    yield families.IN_FLIGHT.metric(([each.key], each.in_flight) for each in triggers)
    yield families.PARKED.metric(([each.key], each.parked) for each in triggers)
    yield families.TRIGGER_STATE.metric(
        ([each.key, phase], each.state.phase == phase)
        for each in triggers
        for phase in get_args(Phase)
    )


def _accounts(triggers: list[TriggerStatus], now: datetime) -> Iterator[Metric]:
    of = [(each.key, each.books) for each in triggers]
    yield families.MATCHED.metric(([key], each.matched) for key, each in of)
    yield families.DELIVERED.metric(([key], each.delivered) for key, each in of)
    yield families.DEAD_LETTERED.metric(([key], each.dead_lettered) for key, each in of)
    yield families.WAITING.metric(([key], each.waiting) for key, each in of)
    yield families.OLDEST_WAITING.metric(
        ([key], age(each.oldest_waiting, now) or 0.0) for key, each in of
    )
    yield families.UNACCOUNTED.metric(([key], each.unaccounted) for key, each in of)


def processes(status: MeshStatus) -> Iterator[Metric]:
    """Yield the metrics of what runs, and of the files that say so."""
    yield families.PROBLEMS.metric([([], len(status.problems))])
    yield families.WORKER.metric(
        ([str(each.number)], each.state == "running") for each in status.workers
    )
    yield families.BUILD.metric([([version("cemesh")], 1)])


def age(since: datetime | None, now: datetime) -> float | None:
    """Return how many seconds ago that was; never less than none, whatever the clocks say."""
    return None if since is None else max(0.0, (now - since).total_seconds())
