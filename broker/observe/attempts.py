"""What became of the delivery attempts of this process, and how long they took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.status import Tally

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BOUNDS: Final = [*map(str, _SECONDS), "+Inf"]


class _Running:
    """The attempts of one trigger. ``buckets`` count those of one bucket each."""

    __slots__ = ("buckets", "seconds", "verdicts")

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.buckets = [0] * len(_BOUNDS)
        self.seconds = 0.0


class Attempts:
    """Counts attempts on the event loop alone: the library's own, with locks, cost eight times."""

    def __init__(self) -> None:
        self._tallies: dict[str, _Running] = {}

    def count(self, trigger: str, verdict: str, seconds: float) -> None:
        """Count one attempt."""
        tally = self._tallies.get(trigger)
        if tally is None:
            tally = self._tallies[trigger] = _Running()
        tally.verdicts[verdict] += 1
        tally.buckets[bisect_left(_SECONDS, seconds)] += 1
        tally.seconds += seconds

    def forget_all_but(self, triggers: Collection[str]) -> None:
        """Drop the series of triggers that are gone, or they would pile up."""
        for trigger in self._tallies.keys() - set(triggers):
            del self._tallies[trigger]

    def counted(self) -> Mapping[str, Tally]:
        """Return what has been counted until now, by trigger."""
        return {
            trigger: Tally(
                verdicts=dict(tally.verdicts), buckets=tuple(tally.buckets), seconds=tally.seconds
            )
            for trigger, tally in self._tallies.items()
        }


class AttemptsCollector(Collector):
    """What was counted, as metrics."""

    def __init__(self, tallies: Mapping[str, Tally]) -> None:
        self._tallies = tallies

    def collect(self) -> Iterable[Metric]:
        verdicts = CounterMetricFamily(
            "cemesh_attempts",
            "Delivery attempts of this process, by what became of them.",
            labels=["trigger", "verdict"],
        )
        seconds = HistogramMetricFamily(
            "cemesh_attempt_duration_seconds",
            "How long the delivery attempts of this process took.",
            labels=["trigger"],
        )
        for trigger, tally in self._tallies.items():
            for verdict, count in tally.verdicts.items():
                verdicts.add_metric([trigger, verdict], count)
            buckets = list(zip(_BOUNDS, map(float, accumulate(tally.buckets)), strict=True))
            seconds.add_metric([trigger], buckets, sum_value=tally.seconds)
        return verdicts, seconds
