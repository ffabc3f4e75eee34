"""What came into the brokers by this process, and what did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final, get_args

from broker.event import Event
from broker.observe.durations import Durations
from broker.observe.families import INGRESS, REFUSED, REPLIES, STORED
from broker.ports import Origin, OriginKind, Reason
from broker.status import Counts, Series, Tally

NONE: Final = ""
"""The label of a refused request that named no broker that runs."""


class _OfBroker:
    """What came into one broker. All origins are there from the start, so that none begins at 1."""

    __slots__ = ("events", "requests")

    def __init__(self) -> None:
        self.events: dict[OriginKind, int] = dict.fromkeys(get_args(OriginKind), 0)
        self.requests: Durations | None = None  # as no part but the ingress has any


class Incoming:
    """Counts, by broker, what is stored and what is refused, and by trigger what is replied."""

    def __init__(self) -> None:
        self._brokers: dict[str, _OfBroker] = {}
        self._refused: Counter[tuple[str, int, Reason]] = Counter()
        self._replies: Counter[str] = Counter()

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        """Count the events, and time the request that they came by; see `broker.ports.Watcher`."""
        counted = self._brokers.get(broker)
        if counted is None:
            counted = self._brokers[broker] = _OfBroker()
        counted.events[origin.kind] += len(events)
        if seconds is not None:
            if counted.requests is None:
                counted.requests = Durations()
            counted.requests.add(seconds)
        elif origin.kind == "reply":
            self._replies[origin.who] += len(events)

    def refused(self, broker: str | None, status: int, reason: Reason) -> None:
        """Count a request that was refused.

        A name that a client made up must not become a label: see `broker.ports.Watcher`.
        """
        self._refused[broker or NONE, status, reason] += 1

    def forget_all_but(self, brokers: Collection[str], triggers: Collection[str]) -> None:
        """Drop what is counted of brokers and triggers that are gone, or it would pile up."""
        for broker in [each for each in self._brokers if each not in brokers]:
            del self._brokers[broker]
        for refused in [each for each in self._refused if each[0] not in {NONE, *brokers}]:
            del self._refused[refused]
        for trigger in [each for each in self._replies if each not in triggers]:
            del self._replies[trigger]

    def counted(self) -> Counts:
        """Return what has been counted until now."""
        counters: dict[Series, int] = {}
        durations: dict[Series, Tally] = {}
        for broker, counted in self._brokers.items():
            for origin, events in counted.events.items():
                counters[STORED.name, (broker, origin)] = events
            if counted.requests is not None:
                durations[INGRESS.name, (broker,)] = counted.requests.tally
        for (broker, status, reason), requests in self._refused.items():
            counters[REFUSED.name, (broker, str(status), reason)] = requests
        for trigger, replies in self._replies.items():
            counters[REPLIES.name, (trigger,)] = replies
        return Counts(counters=counters, durations=durations)
