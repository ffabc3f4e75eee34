"""What Prometheus scrapes: counters of this process, and the books of the mesh.

What the channels count durably (accepted, matched, delivered …) is read from `MeshStatus` at
every scrape and counted nowhere else, so that the metrics and the books cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final, get_args

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.event import Event
from broker.observe.attempts import Attempts, AttemptsCollector
from broker.observe.sources import SourcesCollector
from broker.ports import Attempt, Claim, Origin, Reason, Step
from broker.status import Counts, MeshStatus, Phase, TriggerStatus

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

NO_BROKER: Final = ""
"""The ``broker`` label of a refused request that named no broker of the mesh."""


class Metrics:
    """The metrics of one process, in a registry of their own. A `broker.ports.Watcher`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._refused: Counter[tuple[str, int]] = Counter()
        self._attempts = Attempts()

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        """See `broker.ports.Watcher`."""

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        """Count a request that was refused.

        A name that a client made up must not become a label: see `broker.ports.Watcher`.
        """
        self._refused[broker or NO_BROKER, status] += 1

    def attempted(self, attempt: Attempt) -> None:
        """Count one delivery attempt, what it came to, and how long it took."""
        self._attempts.count(attempt.trigger, attempt.verdict.value, attempt.seconds)

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        """See `broker.ports.Watcher`."""

    def counted(self) -> Counts:
        """Return what has been counted in this process until now."""
        return Counts(refused=dict(self._refused), attempts=self._attempts.counted())

    def render(self, status: MeshStatus) -> bytes:
        """Return the scrape, in Prometheus' text format (`CONTENT_TYPE`)."""
        self._forget_all_but(status)
        told = CollectorRegistry()
        now = datetime.now(UTC)
        told.register(_Books(status, now))
        told.register(SourcesCollector(status.sources, now))
        counts = self.counted() + status.elsewhere
        told.register(_Refused(counts.refused))
        told.register(AttemptsCollector(counts.attempts))
        return generate_latest(told) + generate_latest(self._registry)

    def _forget_all_but(self, status: MeshStatus) -> None:
        """Drop the series of brokers and triggers that are gone, or they would pile up."""
        brokers = {broker.key for broker in status.brokers} | {NO_BROKER}
        triggers = {trigger.key for broker in status.brokers for trigger in broker.triggers}
        for key in [key for key in self._refused if key[0] not in brokers]:
            del self._refused[key]
        self._attempts.forget_all_but(triggers)


class _Refused(Collector):
    """Requests that were refused, as metrics."""

    def __init__(self, counts: Mapping[tuple[str, int], int]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "cemesh_refused_requests",
            "Requests to the data port that were answered with an error.",
            labels=["broker", "status"],
        )
        for (broker, status), count in self._counts.items():
            family.add_metric([broker, str(status)], count)
        yield family


class _Books(Collector):
    """One `MeshStatus` as metrics."""

    def __init__(self, status: MeshStatus, now: datetime) -> None:
        self._status = status
        self._now = now

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("cemesh_build", "What is running.", {"version": version("cemesh")})
        yield self._accepted()
        yield from self._counters()
        yield from self._gauges()

    def _accepted(self) -> Metric:
        family = CounterMetricFamily(
            "cemesh_accepted_events", "Events that a broker stored.", labels=["broker"]
        )
        for broker in self._status.brokers:
            family.add_metric([broker.key], broker.accepted)
        return family

    def _triggers(self) -> Iterable[TriggerStatus]:
        for broker in self._status.brokers:
            yield from broker.triggers

    def _counters(self) -> Iterable[Metric]:
        matched = CounterMetricFamily(
            "cemesh_matched_events", "Events that matched a trigger.", labels=["trigger"]
        )
        delivered = CounterMetricFamily(
            "cemesh_delivered_events", "Events that a trigger delivered.", labels=["trigger"]
        )
        dead = CounterMetricFamily(
            "cemesh_dead_lettered_events", "Events that a trigger gave up.", labels=["trigger"]
        )
        for trigger in self._triggers():
            matched.add_metric([trigger.key], trigger.books.matched)
            delivered.add_metric([trigger.key], trigger.books.delivered)
            dead.add_metric([trigger.key], trigger.books.dead_lettered)
        return matched, delivered, dead

    def _gauges(self) -> Iterable[Metric]:
        waiting = GaugeMetricFamily(
            "cemesh_waiting_events", "Events that wait for their delivery.", labels=["trigger"]
        )
        oldest = GaugeMetricFamily(
            "cemesh_oldest_waiting_seconds",
            "Age of the oldest event that waits for its delivery; 0 where none does.",
            labels=["trigger"],
        )
        unaccounted = GaugeMetricFamily(
            "cemesh_unaccounted_events",
            "Matched less delivered, dead-lettered and waiting: 0 unless events were lost.",
            labels=["trigger"],
        )
        in_flight = GaugeMetricFamily(
            "cemesh_in_flight_attempts", "Attempts under way in this process.", labels=["trigger"]
        )
        parked = GaugeMetricFamily(
            "cemesh_parked_events",
            "Events that wait in this process for an operator, and hold their keys up.",
            labels=["trigger"],
        )
        state = GaugeMetricFamily(
            "cemesh_trigger_state",
            "What the trigger is doing in this process: 1 at one of the states, 0 at the others.",
            labels=["trigger", "state"],
        )
        for trigger in self._triggers():
            since = trigger.books.oldest_waiting
            age = 0.0 if since is None else max(0.0, (self._now - since).total_seconds())
            waiting.add_metric([trigger.key], trigger.books.waiting)
            oldest.add_metric([trigger.key], age)
            unaccounted.add_metric([trigger.key], trigger.books.unaccounted)
            in_flight.add_metric([trigger.key], trigger.in_flight)
            parked.add_metric([trigger.key], trigger.parked)
            for phase in get_args(Phase):
                state.add_metric([trigger.key, phase], trigger.state.phase == phase)
        return waiting, oldest, unaccounted, in_flight, parked, state
