"""What an operator sees of a running mesh, as values; the admin API and the metrics show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from broker.errors import Problem
from broker.ports import Books, Channel, Pause
from broker.settings import WHOLE, Part
from broker.trigger import Trigger

Phase = Literal["running", "held", "paused", "probing", "recovering"]


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
class TriggerStatus:
    """One trigger. ``in_flight`` counts the attempts under way in this process."""

    key: str
    broker: str
    subscriber: str
    in_flight: int
    books: Books
    state: TriggerState = RUNNING


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
    """One source. ``error`` is what ended its last run, None if it runs undisturbed."""

    kind: str
    key: str
    broker: str
    state: Literal["running", "restarting"]
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """What runs in one process: the whole mesh, or ``parts`` of it.

    ``problems`` are those of the last change of the files that was refused.
    """

    brokers: Sequence[BrokerStatus]
    sources: Sequence[SourceStatus]
    problems: Sequence[Problem]
    parts: frozenset[Part] = WHOLE


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

    def channel(self, broker: str) -> Channel:
        """Return the channel of the broker ``namespace/name``; raises `UnknownBroker`."""
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

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        """Hand dead letters back to the triggers that gave them up, with no attempts counted.

        One whose trigger does not run here, or that is not there, is kept and said. Raises
        `UnknownBroker`, `ChannelUnavailable`, `ChannelFull`.
        """
        ...
