"""What Prometheus scrapes: counters of this process, and the books of the mesh.

What the channels count durably (accepted, matched, delivered …) is read from `MeshStatus` at
every scrape and counted nowhere else, so that the metrics and the books cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)

from broker.observe.attempts import Attempts
from broker.observe.books import books, processes
from broker.observe.families import (
    ATTEMPT,
    ATTEMPTS,
    CERTIFICATE,
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
from broker.ports import Claim, Step
from broker.status import Counts, MeshStatus, Series
from broker.trigger import Desired

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The metrics of one process, in a registry of their own. A `broker.ports.Watcher`.

    ``expiring`` is until when the certificate of each port that has one is valid: whoever reads
    certificates keeps it.
    """

    def __init__(self) -> None:
        self.expiring: dict[str, datetime] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._incoming = Incoming()
        self._attempts = Attempts()
        # Not by methods of its own: each call on the way of every event costs.
        self.accepted = self._incoming.accepted
        self.refused = self._incoming.refused
        self.attempted = self._attempts.attempted

    def decided(self, trigger: str, claim: Claim, step: Step) -> None:
        """Count an event that is given up."""
        self._attempts.decided(trigger, step)

    def counted(self) -> Counts:
        """Return what has been counted in this process until now."""
        return self._incoming.counted() + self._attempts.counted()

    def keep_to(self, desired: Desired) -> None:
        """Drop what is counted of brokers and triggers that are gone, or it would pile up.

        One that is only out for a while, as its channel is, goes on from where it was.
        """
        self._incoming.forget_all_but(desired.brokers, desired.triggers)
        self._attempts.forget_all_but(desired.triggers)

    def scrape(self, status: MeshStatus) -> Callable[[], bytes]:
        """Return what makes the scrape, in Prometheus' text format (`CONTENT_TYPE`).

        With a thousand triggers that takes longer than the event loop may be held up: call it in
        another thread.
        """
        return partial(self._scrape, status, self.counted() + status.elsewhere)

    def _scrape(self, status: MeshStatus, counts: Counts) -> bytes:
        now = datetime.now(UTC)
        lines = chain(
            processes(status),
            CERTIFICATE.lines(
                ([port], expires.timestamp()) for port, expires in sorted(self.expiring.items())
            ),
            books(status, now),
            _counted(counts, _Here(status)),
            sources(status.sources, now),
        )
        return "".join(lines).encode() + generate_latest(self._registry)


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


def _counted(counts: Counts, here: _Here) -> Iterator[str]:
    """Yield the lines of what was counted in all processes."""
    of: dict[str, list[Series]] = {}
    for series in filter(here.has, (*counts.counters, *counts.durations)):
        of.setdefault(series[0], []).append(series)
    for family in (STORED, REFUSED, ATTEMPTS, GIVEN_UP, REPLIES):
        found = of.get(family.name, ())
        yield from family.lines((each[1], counts.counters[each]) for each in found)
    for family in (INGRESS, CHANNEL, ATTEMPT, END_TO_END):
        found = of.get(family.name, ())
        yield from family.histogram((each[1], counts.durations[each]) for each in found)
