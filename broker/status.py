"""What an operator sees of a running mesh, as values; the admin API and the metrics show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from broker.errors import Problem
from broker.event import Event
from broker.ports import Archive, Books, Pause, Refusal
from broker.settings import WHOLE, Part
from broker.trigger import Trigger

Phase = Literal["running", "held", "paused", "probing", "recovering"]
SourceState = Literal["running", "unhealthy", "restarting", "standby"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerState:
    """What a trigger is doing in this process, and why it is not just running.

    ``held``: its subscriber asked by Retry-After for no attempts ``until`` then. ``paused``: no
    attempts ``until`` then, or, where that is None, until somebody resumes it. ``probing``: one
    attempt at a time tests whether the subscriber works again. ``recovering``: it does, and gets
    more and more at once.
    """

    phase: Phase = "running"
    why: str | None = None
    until: datetime | None = None


RUNNING: Final = TriggerState()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """An event that an ordered trigger gave up, and that holds its ``key`` up until it is ordered.

    ``since`` is since when it is parked in this process.
    """

    id: str
    source: str
    key: str
    since: datetime
    why: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an operator wants done with a parked event, and ``why``."""

    verb: Literal["retry", "skip"]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerStatus:
    """One trigger. ``in_flight`` counts the attempts under way in this process.

    ``parked`` counts the events that wait here for an operator.
    """

    key: str
    broker: str
    subscriber: str
    in_flight: int
    books: Books
    state: TriggerState = RUNNING
    parked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatus:
    """One broker. ``unavailable`` says why its channel takes no events now, None if it does."""

    key: str
    channel: str
    accepted: int
    unavailable: str | None
    triggers: Sequence[TriggerStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source. ``error`` is what ended its last run or is wrong now, None if all is well.

    ``standby``: another process runs it, as only one may. ``unhealthy``: it cannot get at what it
    reads from, or cannot store; ``restarting``: it has ended for another reason. ``lag`` is how
    many events wait upstream, ``lag_since`` when the oldest of them came; None where the source
    does not say. What is counted is counted since this process runs the source.
    """

    kind: str
    key: str
    broker: str
    state: SourceState
    error: str | None
    emitted: int = 0
    rejected: int = 0
    restarts: int = 0
    lag: int | None = None
    lag_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Durations: how many are in each bucket, and how many seconds they are in all."""

    buckets: Sequence[int]
    seconds: float

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            buckets=[sum(each) for each in zip(self.buckets, other.buckets, strict=True)],
            seconds=self.seconds + other.seconds,
        )


Series = tuple[str, tuple[str, ...]]
"""The name of a metric, and the values of its labels."""

_Summed = TypeVar("_Summed", int, Tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a process counts and times that no channel does, since it started."""

    counters: Mapping[Series, int] = field(default_factory=dict)
    durations: Mapping[Series, Tally] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            counters=_sum(self.counters, other.counters),
            durations=_sum(self.durations, other.durations),
        )


def _sum(one: Mapping[Series, _Summed], other: Mapping[Series, _Summed]) -> dict[Series, _Summed]:
    summed = dict(one)
    for series, value in other.items():
        summed[series] = summed[series] + value if series in summed else value
    return summed


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One of the processes that share the work of a mesh. ``pid`` is None while it does not run."""

    number: int
    pid: int | None
    state: Literal["running", "starting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """An object of the manifests, and where it stands. ``line`` is counted from 1.

    What is an object of a cluster stands in no file.
    """

    kind: str
    key: str
    file: Path | None
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What the files said when they were taken up last, and what was doubtful about it."""

    objects: Sequence[Declared] = ()
    warnings: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """What runs in one process: the whole mesh, or ``parts`` of it; or in all of its ``workers``.

    That is what the ``manifests`` say. ``problems`` are those of the last change of the files that
    was refused. ``unfollowed`` is why what a cluster says cannot be followed now: nothing, where it
    can, and None, where there is no cluster. ``elsewhere`` is what the workers beside this process
    have counted. Unless it ``is_whole``, a worker has yet to tell its part of what the books say.
    """

    brokers: Sequence[BrokerStatus]
    sources: Sequence[SourceStatus]
    problems: Sequence[Problem]
    manifests: Manifests = Manifests()
    parts: frozenset[Part] = WHOLE
    workers: Sequence[WorkerStatus] = ()
    elsewhere: Counts = Counts()
    is_whole: bool = True
    unfollowed: Sequence[str] | None = None

    @property
    def wrong(self) -> Sequence[Problem]:
        """The problems, and that the cluster is not followed."""
        away = [
            Problem(file=None, line=None, subject="The cluster", message=f"is not followed: {why}")
            for why in self.unfollowed or ()
        ]
        return (*away, *self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What became of a redrive: the ids handed back to their triggers, and id → why not."""

    redriven: Sequence[str]
    kept: Mapping[str, str]


class Operated(Protocol):
    """A mesh as its operator handles it."""

    async def not_ready(self) -> Sequence[str]:
        """Return what keeps the mesh from its work, one sentence each; empty when ready."""
        ...

    async def status(self) -> MeshStatus: ...

    def channel(self, broker: str) -> Archive:
        """Return what the broker ``namespace/name`` keeps; raises `UnknownBroker`."""
        ...

    def triggers(self, broker: str) -> Sequence[Trigger]:
        """Return the broker's triggers, wherever they run; raises `UnknownBroker`."""
        ...

    def trigger(self, trigger: str) -> Trigger:
        """Return the trigger ``namespace/name``, wherever it runs; raises `UnknownTrigger`."""
        ...

    async def pause(self, trigger: str, why: str) -> Pause:
        """Return once it is durable that the trigger ``namespace/name`` gets nothing.

        Raises `UnknownTrigger`, `ChannelUnavailable`, `ChannelFull`.
        """
        ...

    async def resume(self, trigger: str) -> None:
        """Return once it is durable that the trigger goes on. Raises as `pause` does."""
        ...

    async def parked(self, trigger: str) -> Sequence[Parked]:
        """Return what the trigger ``namespace/name`` has parked in this process, oldest first.

        Raises `UnknownTrigger`, and `NotParked` where the trigger does not run here.
        """
        ...

    async def order(
        self, trigger: str, order: Order, *, id: str | None, source: str | None
    ) -> Sequence[Parked]:
        """Have that done, within seconds, with the parked event of that id, or with all.

        Returns those that are meant. Raises as `parked` does, and `NotParked` where there is none
        of that id, or several and no ``source`` tells which.
        """
        ...

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        """Hand dead letters back to the triggers that gave them up, with no attempts counted.

        One whose trigger does not run here, or that is not there, is kept and said. Raises
        `UnknownBroker`, `ChannelUnavailable`, `ChannelFull`.
        """
        ...

    async def redrive_edited(self, broker: str, id: str, edited: Event) -> Redriven:
        """Hand another event to the trigger that gave this dead letter up.

        The letter is there until the other event is durable. As `redrive` does, otherwise.
        """
        ...
