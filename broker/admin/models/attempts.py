"""What is counted and timed of the attempts of one trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf
from typing import Final

from broker.admin.models.base import Document
from broker.observe.durations import BOUNDS
from broker.observe.families import ATTEMPT, ATTEMPTS, CHANNEL, END_TO_END
from broker.status import Counts, Tally

_BOUNDS: Final = [None if isinf(each) else each for each in map(float, BOUNDS)]


class BucketDocument(Document, frozen=True, kw_only=True):
    """How many took at most ``le`` seconds and more than the bucket before; None is the rest."""

    le: float | None
    count: int


class DurationsDocument(Document, frozen=True, kw_only=True):
    """Durations in buckets, and their sum in seconds."""

    buckets: Sequence[BucketDocument]
    seconds: float

    @classmethod
    def of(cls, tally: Tally | None) -> DurationsDocument:
        counts = [0] * len(_BOUNDS) if tally is None else tally.buckets
        buckets = [
            BucketDocument(le=bound, count=count)
            for bound, count in zip(_BOUNDS, counts, strict=True)
        ]
        return cls(buckets=buckets, seconds=0.0 if tally is None else tally.seconds)


class AttemptsDocument(Document, frozen=True, kw_only=True):
    """The attempts of one trigger at its subscriber since the mesh was started.

    ``outcomes`` counts them by what they came to. ``attempts`` is how long they took, ``channel``
    how long events waited for their first, ``end_to_end`` from accepted to delivered.
    """

    trigger: str
    outcomes: Mapping[str, int]
    attempts: DurationsDocument
    channel: DurationsDocument
    end_to_end: DurationsDocument

    @classmethod
    def of(cls, trigger: str, counts: Counts) -> AttemptsDocument:
        outcomes = {
            labels[2]: count
            for (name, labels), count in counts.counters.items()
            if name == ATTEMPTS.name and labels[:2] == (trigger, "subscriber")
        }
        durations = counts.durations
        return cls(
            trigger=trigger,
            outcomes=outcomes,
            attempts=DurationsDocument.of(durations.get((ATTEMPT.name, (trigger, "subscriber")))),
            channel=DurationsDocument.of(durations.get((CHANNEL.name, (trigger,)))),
            end_to_end=DurationsDocument.of(durations.get((END_TO_END.name, (trigger,)))),
        )
