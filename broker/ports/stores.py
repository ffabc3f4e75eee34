"""What a broker keeps beside the places of its triggers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.event import Event
from broker.ports.claims import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was given up for one trigger. ``id`` sorts by time of burial.

    ``trigger`` is empty where that is no event at all, and so was for no trigger: what others wrote
    to the broker's topic, or what a source was given. The event tells what it is.
    """

    id: str
    trigger: str
    event: Event
    why: Refusal
    buried_at: datetime


class DeadLetters(Protocol):
    """A broker's own dead-letter store."""

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """Return up to ``limit`` dead letters, oldest first, that come after the id ``after``."""
        ...

    async def get(self, id: str) -> DeadLetter | None:
        """Return that dead letter, or None where there is none (any more)."""
        ...

    async def remove(self, ids: Sequence[str]) -> int:
        """Remove these dead letters and return how many there were."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """How many dead letters of a trigger there are for that reason, and when they were buried."""

    trigger: str
    reason: str
    status: int | None
    count: int
    first: datetime
    last: datetime


class CountingDeadLetters(DeadLetters, Protocol):
    """A store that can count its dead letters by cause without reading their events."""

    async def causes(self) -> Sequence[Cause]:
        """Return how many there are for each cause, in no promised order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """That a trigger gets nothing until it is resumed: ``why``, in words, and since when.

    Where it is about a ``destination``, a trigger that has another one by now is not paused.
    """

    why: str
    since: datetime
    destination: str | None = None


class Pauses(Protocol):
    """Which triggers of a broker are paused: durable, and known to all its processes.

    A channel hands out claims all the same; who delivers heeds it.
    """

    async def all(self) -> Mapping[str, Pause]:
        """Return the triggers that are paused, as far as it is known here.

        What another process has changed is known within a second or so. Raises
        `ChannelUnavailable`.
        """
        ...

    async def put(self, trigger: str, pause: Pause) -> None:
        """Return once it is durable that the trigger is paused.

        Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...

    async def remove(self, trigger: str) -> None:
        """Return once it is durable that the trigger is not paused.

        Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...


class Checkpoints(Protocol):
    """How far the sources of a broker have come: durable, and known to all its processes.

    Who writes one does so alone at a time, or means to write what others may overwrite.
    """

    async def get(self, source: str) -> bytes | None:
        """Return what was put last for that source, by whichever process; None where nothing was.

        Raises `ChannelUnavailable`.
        """
        ...

    async def put(self, source: str, place: bytes) -> None:
        """Return once it is durable that the source, ``Kind namespace/name``, has come that far.

        At most 64 KiB. Raises `ChannelUnavailable` or `ChannelFull`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event that a channel still keeps, without its payload.

    ``position`` is opaque to everyone but the channel, ``at`` when the event was accepted,
    ``to`` the one trigger that it is for, or None where the filters decide.
    """

    position: str
    at: datetime
    event: Event
    to: str | None = None


class Archive(Protocol):
    """What a broker keeps, as it can be looked at."""

    @property
    def dead_letters(self) -> DeadLetters: ...

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        """Return up to ``limit`` of the events that are still kept, oldest first.

        Those accepted at ``since`` or later, behind the position ``after``, with that ``id``:
        whatever is given. Raises `ChannelUnavailable`, and `ValueError` where ``after`` is no
        position.
        """
        ...

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Follow what is appended from now on. An observer that is slow misses events."""
        ...
