"""What sources do, as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.status import SourceState, SourceStatus

_LABELS: Final = ("kind", "source")


class SourcesCollector(Collector):
    """The sources of this process. Counters begin at 0 where a process begins to run one."""

    def __init__(self, sources: Sequence[SourceStatus], now: datetime) -> None:
        self._sources = sources
        self._now = now

    def collect(self) -> Iterable[Metric]:
        emitted = CounterMetricFamily(
            "cemesh_source_emitted_events",
            "Events of a source that its broker stored.",
            labels=_LABELS,
        )
        rejected = CounterMetricFamily(
            "cemesh_source_rejected_messages",
            "What a source was given that can become no event, and is a dead letter.",
            labels=_LABELS,
        )
        restarts = CounterMetricFamily(
            "cemesh_source_restarts", "How often a source ended or failed.", labels=_LABELS
        )
        lag = GaugeMetricFamily(
            "cemesh_source_lag_events",
            "Events that wait upstream; of sources that can tell.",
            labels=_LABELS,
        )
        age = GaugeMetricFamily(
            "cemesh_source_lag_seconds",
            "Age of the oldest event that waits upstream; of sources that can tell.",
            labels=_LABELS,
        )
        state = GaugeMetricFamily(
            "cemesh_source_state",
            "What the source is doing in this process: 1 at one of the states, 0 at the others.",
            labels=[*_LABELS, "state"],
        )
        for each in self._sources:
            labels = [each.kind, each.key]
            emitted.add_metric(labels, each.emitted)
            rejected.add_metric(labels, each.rejected)
            restarts.add_metric(labels, each.restarts)
            if each.lag is not None:
                lag.add_metric(labels, each.lag)
            if each.lag_since is not None:
                age.add_metric(labels, max(0.0, (self._now - each.lag_since).total_seconds()))
            for one in get_args(SourceState):
                state.add_metric([*labels, one], each.state == one)
        yield from (emitted, rejected, restarts, lag, age, state)
