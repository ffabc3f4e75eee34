"""What the processes of a worker had counted that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from broker.status import BrokerStatus, Counts, MeshStatus, SourceStatus


class Former:
    """What those processes had counted, as they told it last.

    What is counted begins at 0 in each of them. A sum that went down by that would look like a
    mesh that has started anew, and all of it would be counted a second time.
    """

    def __init__(self) -> None:
        self._counts = Counts()
        self._sources: dict[tuple[str, str], SourceStatus] = {}

    def take(self, told: MeshStatus) -> MeshStatus:
        """Take over what a process had counted that has ended; return the rest of what it told.

        Of that, nothing is under way any more.
        """
        summed = self.add(told)
        self._counts = summed.elsewhere
        self._sources = {(each.kind, each.key): each for each in summed.sources}
        return replace(
            told,
            brokers=_at_rest(told.brokers),
            sources=[replace(each, emitted=0, rejected=0) for each in told.sources],
            elsewhere=Counts(),
        )

    def add(self, told: MeshStatus) -> MeshStatus:
        """Return what a process tells, with what those before it had counted."""
        return replace(
            told,
            sources=[self._with_former(each) for each in told.sources],
            elsewhere=self._counts + told.elsewhere,
        )

    def _with_former(self, source: SourceStatus) -> SourceStatus:
        former = self._sources.get((source.kind, source.key))
        if former is None:
            return source
        return replace(
            source,
            emitted=source.emitted + former.emitted,
            rejected=source.rejected + former.rejected,
        )


def _at_rest(brokers: Sequence[BrokerStatus]) -> Sequence[BrokerStatus]:
    return [
        replace(broker, triggers=[replace(each, in_flight=0) for each in broker.triggers])
        for broker in brokers
    ]
