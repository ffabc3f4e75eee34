"""The topics of fixed delay that deliveries wait in, each in the order in which they fall due.

A delay is made of several: the longest that fits first, then the longest that fits into what is
left. So a delivery passes each topic at most once, and none ever waits behind one that is due
later.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

from broker.channels.kafka.compacted import Append
from broker.channels.kafka.cursor import PutOff
from broker.codecs.kafka import Notes, encode

STEPS: Final = tuple(timedelta(seconds=0.25 * (1 << power)) for power in range(14))
"""From a quarter of a second to 34 minutes: a longer delay passes the last one several times."""

SOON: Final = STEPS[0] / 2
"""What is due so soon is not put off again: it comes a little early."""


def step(remaining: timedelta) -> int:
    """Return which of the `STEPS` to take next: the longest that is not too long, or the first."""
    fitting = [number for number, each in enumerate(STEPS) if each <= remaining]
    return fitting[-1] if fitting else 0


def topics(of_events: str) -> Sequence[str]:
    """Return the topics of the steps, for the broker with this topic of events."""
    return [f"{of_events}-delay-{each // timedelta(milliseconds=1)}ms" for each in STEPS]


def is_due(due: datetime, now: datetime) -> bool:
    """Return whether a delivery that has come out of a topic need not be put off again."""
    return due - now < SOON


class Delays:
    """Where deliveries of one broker wait."""

    def __init__(self, of_events: str, append: Append) -> None:
        self._topics = topics(of_events)
        self._append = append

    async def put_off(self, delivery: PutOff) -> None:
        """Return once the delivery waits durably. Raises what ``append`` raises."""
        await self.put_all_off([delivery])

    async def put_all_off(self, deliveries: Sequence[PutOff]) -> None:
        """Return once all of them wait durably, in their order; some may if it raises."""
        now = datetime.now(UTC)
        steps = sorted(((step(each.due - now), each) for each in deliveries), key=itemgetter(0))
        for number, group in groupby(steps, key=itemgetter(0)):
            records = [
                encode(
                    each.event,
                    Notes(
                        to=each.trigger,
                        attempts=each.attempts,
                        condemned=each.condemned,
                        due=each.due,
                    ),
                )
                for _, each in group
            ]
            await self._append(self._topics[number], records)
