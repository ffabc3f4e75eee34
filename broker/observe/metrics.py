"""What Prometheus scrapes: counters of this process, and the books of the mesh.

What the channels count durably (accepted, matched, delivered …) is read from `MeshStatus` at
every scrape and counted nowhere else, so that the metrics and the books cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from broker.event import Event
from broker.observe.attempts import Attempts
from broker.observe.books import books, processes
from broker.observe.durations import cumulated
from broker.observe.families import (
    ATTEMPT,
    ATTEMPTS,
    CHANNEL,
    END_TO_END,
    FAMILIES,
    GIVEN_UP,
    INGRESS,
    REFUSED,
    REPLIES,
    STORED,
)
from broker.observe.incoming import NONE, Incoming
from broker.observe.sources import sources
from broker.ports import Attempt, Claim, Origin, Reason, Step
from broker.status import Counts, MeshStatus, Series

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The metrics of one process, in a registry of their own. A `broker.ports.Watcher`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._incoming = Incoming()
        self._attempts = Attempts()

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        """Count what is stored; see `broker.ports.Watcher`."""
        self._incoming.accepted(broker, len(events), origin, seconds)

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        """Count a request that was refused.

        A name that a client made up must not become a label: see `broker.ports.Watcher`.
        """
        self._incoming.refused(broker, status, reason)

    def attempted(self, attempt: Attempt) -> None:
        """Count one delivery attempt, what it came to, and how long it took."""
        self._attempts.attempted(attempt)

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        """Count an event that is given up."""
        self._attempts.decided(trigger, step)

    def counted(self) -> Counts:
        """Return what has been counted in this process until now."""
        return self._incoming.counted() + self._attempts.counted()

    def forget_all_but(self, brokers: Collection[str], triggers: Collection[str]) -> None:
        """Drop what is counted of brokers and triggers that are gone, or it would pile up."""
        self._incoming.forget_all_but(brokers, triggers)
        self._attempts.forget_all_but(triggers)

    def render(self, status: MeshStatus) -> bytes:
        """Return the scrape, in Prometheus' text format (`CONTENT_TYPE`)."""
        return self.scrape(status)()

    def scrape(self, status: MeshStatus) -> Callable[[], bytes]:
        """Return what makes the scrape, in Prometheus' text format, also in another thread.

        That takes longer than the event loop may be held up where there are many triggers.
        """
        here = _Here(status)
        self.forget_all_but(here.brokers, here.triggers)
        scrape = CollectorRegistry()
        scrape.register(_Scrape(status, self.counted() + status.elsewhere, here))
        return lambda: generate_latest(scrape) + generate_latest(self._registry)


class _Here:
    """The brokers and triggers that are there: those of no others are told."""

    def __init__(self, status: MeshStatus) -> None:
        self.brokers = {broker.key for broker in status.brokers}
        self.triggers = {each.key for broker in status.brokers for each in broker.triggers}

    def has(self, series: Series) -> bool:
        name, values = series
        labels = dict(zip(FAMILIES[name].labels, values, strict=True))
        broker, trigger = labels.get("broker", NONE), labels.get("trigger")
        return (broker == NONE or broker in self.brokers) and (
            trigger is None or trigger in self.triggers
        )


class _Scrape(Collector):
    """One `MeshStatus`, and all that was counted, as metrics."""

    def __init__(self, status: MeshStatus, counts: Counts, here: _Here) -> None:
        self._status = status
        self._counts = counts
        self._here = here
        self._now = datetime.now(UTC)

    def collect(self) -> Iterable[Metric]:
        yield from processes(self._status)
        yield from books(self._status, self._now)
        yield from self._counted()
        yield from sources(self._status.sources, self._now)

    def _counted(self) -> Iterator[Metric]:
        counters, durations = self._counts.counters, self._counts.durations
        of: dict[str, list[Series]] = {}
        for series in filter(self._here.has, (*counters, *durations)):
            of.setdefault(series[0], []).append(series)
        for name in (STORED.name, REFUSED.name, ATTEMPTS.name, GIVEN_UP.name, REPLIES.name):
            yield FAMILIES[name].metric((each[1], counters[each]) for each in of.get(name, ()))
        for name in (INGRESS.name, CHANNEL.name, ATTEMPT.name, END_TO_END.name):
            tallies = ((each[1], durations[each]) for each in of.get(name, ()))
            yield FAMILIES[name].histogram(
                (values, cumulated(tally), tally.seconds) for values, tally in tallies
            )
