"""What a metric is: its name, its kind, what it means, and its series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from broker.ports import OriginKind, Reason
from broker.settings import WHOLE, Part
from broker.status import Phase, SourceState

AttemptOutcome = Literal["delivered", "retry", "exhausted", "refused", "untried"]
"""What became of an attempt: to be tried again; refused, with no retries left; refused for good.

``untried``: nothing was sent, for want of leave to, and it is tried again.
"""

To = Literal["subscriber", "dead-letter sink", "store"]

_Samples = Iterable[tuple[Sequence[str], float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label. ``values`` are all that it can have, or None where the manifests tell them."""

    help: str
    values: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric with its series, one for each combination of ``labels``.

    ``unit`` is what is counted or measured, empty where it is a yes or no. ``parts`` are those of
    the mesh whose processes tell it.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str = ""
    labels: Sequence[str] = ()
    parts: frozenset[Part] = WHOLE

    def metric(self, samples: _Samples) -> Metric:
        """Return it with these values of its labels, and what was counted or measured there."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = kind(self.name, self.help, labels=self.labels)
        for values, value in samples:
            metric.add_metric(values, value)
        return metric

    def histogram(
        self, samples: Iterable[tuple[Sequence[str], Sequence[tuple[str, float]], float]]
    ) -> Metric:
        """Return it with these values of its labels, the buckets there, and their sum."""
        metric = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for values, buckets, seconds in samples:
            metric.add_metric(values, buckets, sum_value=seconds)
        return metric


LABELS: Final[Mapping[str, Label]] = {
    "broker": Label(help="namespace/name; empty of a request that named none that runs"),
    "kind": Label(help="the kind of the source"),
    "origin": Label(help="how events came in", values=get_args(OriginKind)),
    "outcome": Label(help="what became of an attempt", values=get_args(AttemptOutcome)),
    "reason": Label(help="why a request was refused", values=get_args(Reason)),
    "source": Label(help="namespace/name"),
    "state": Label(
        help="of a trigger, or of a source",
        values=tuple(dict.fromkeys((*get_args(Phase), *get_args(SourceState)))),
    ),
    "status": Label(
        help="of the HTTP answer: the mesh's own, or what a source that is called says"
    ),
    "to": Label(help="where an event went, or should have gone", values=get_args(To)),
    "trigger": Label(help="namespace/name"),
    "version": Label(help="of cemesh"),
    "worker": Label(help="the number of the process, from 0"),
}
