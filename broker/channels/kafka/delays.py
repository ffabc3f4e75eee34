"""The topics of fixed delay that deliveries wait in, each in the order in which they fall due.

A delay is made of several: the longest that fits first, then the longest that fits into what is
left. So a delivery passes each topic at most three times, but for the last, and none ever waits
behind one that is due later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final, Protocol

from broker.channels.kafka.compacted import configuration
from broker.channels.kafka.cursor import PutOff
from broker.channels.kafka.entries import Entry
from broker.codecs.kafka import Notes, Record, encode

STEPS: Final = tuple(timedelta(seconds=0.25 * 4**power) for power in range(7))
"""From a quarter of a second to 17 minutes: a longer delay passes the last one several times.

With twice as many, a delivery would pass two thirds as many topics: not worth twice the
partitions, of which clusters bear only so many.
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def step(remaining: timedelta) -> int:
    """Return which of the `STEPS` to take next: the longest that is not too long, or the first."""
    fitting = [number for number, each in enumerate(STEPS) if each <= remaining]
    return fitting[-1] if fitting else 0


def topics(base: str) -> Sequence[str]:
    """Return the topics of the steps, for the broker whose topics begin with ``base``."""
    return [f"{base}-delay-{each // timedelta(milliseconds=1)}ms" for each in STEPS]


def delay_topic(of_events: Mapping[str, str]) -> Mapping[str, str]:
    """Return the configuration of a topic of delays, beside a topic of events that has another.

    What waits is kept however long that takes; what has come back is removed by the mesh.
    """
    kept = configuration(of_events, segment_bytes=64 << 20, segment_age=timedelta(minutes=10))
    return {
        **kept,
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "message.timestamp.type": "CreateTime",  # by the clock that the delay is counted by
    }


def goes_on(entry: Entry, step: timedelta) -> bool:
    """Return whether a delivery that comes out of the topic of this step is to be put off again.

    No clock is asked when it does: whoever reads the topic again has to find the same.
    """
    comes_out = _EPOCH + timedelta(milliseconds=entry.at // 1000) + step
    return entry.due is not None and not is_due(entry.due, comes_out)


def is_due(due: datetime, comes_out: datetime) -> bool:
    """Return whether a delivery that comes out of a topic then need not be put off again.

    None comes early, as subscribers may have asked for the delay; it may come `STEPS[0]` late.
    """
    return due <= comes_out


class AppendAt(Protocol):
    """`Producing.append`, to one partition."""

    async def __call__(self, topic: str, records: Sequence[Record], *, partition: int) -> None: ...


class Delays:
    """Where deliveries of one broker wait.

    They stay with whoever holds the partition of events that they are from: ``delayed`` is how
    many partitions the topics have, which is as many, unless some were added just now.
    """

    def __init__(self, base: str, delayed: int, append: AppendAt) -> None:
        self._topics = topics(base)
        self._delayed = delayed
        self._append = append

    async def put_off(self, delivery: PutOff) -> None:
        """Return once the delivery waits durably. Raises what `Producing.append` raises."""
        await self.put_all_off([delivery])

    async def put_all_off(self, deliveries: Sequence[PutOff]) -> None:
        """Return once all of them wait durably, in their order; some may if it raises."""
        now = datetime.now(UTC)
        steps = sorted(
            ((step(each.due - now), each.partition, each) for each in deliveries),
            key=itemgetter(0, 1),
        )
        for (number, partition), group in groupby(steps, key=itemgetter(0, 1)):
            records = [
                encode(
                    each.event,
                    Notes(
                        to=each.trigger,
                        attempts=each.attempts,
                        condemned=each.condemned,
                        accepted=each.accepted,
                        due=each.due,
                    ),
                )
                for _, _, each in group
            ]
            await self._append(self._topics[number], records, partition=partition % self._delayed)
