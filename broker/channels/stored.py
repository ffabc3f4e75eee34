"""A place as it was stored, and the log that it is a place in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from broker.channels.backlog import Entry, Tally
from broker.channels.line import StoredLine
from broker.filters import Filter
from broker.ports import Refusal

E = TypeVar("E", bound=Entry)
E_co = TypeVar("E_co", bound=Entry, covariant=True)


class Log(Protocol[E_co]):
    """A log as one trigger reads it. Both methods raise `ChannelUnavailable`."""

    async def read(self, filter: Filter, start: int, end: int) -> tuple[Sequence[E_co], int]:
        """Return entries in (start, end] that are for the trigger, and up to where they reach."""
        ...

    async def fetch(self, positions: Sequence[int]) -> Sequence[E_co]:
        """Return the entries at these positions, in their order; one that is gone is left out."""
        ...


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Held(Generic[E]):
    """An event that is claimed, or was and will be again."""

    entry: E
    attempts: int = 0
    condemned: Refusal | None = None


@dataclass(slots=True, kw_only=True)
class Stored:
    """A place as it was stored.

    ``filter``   the repr of the filter that the tally is by.
    ``read``     what matched up to here is in ``open``, or is done or put off.
    ``open``     position, attempts and condemnation of every claim that was out.
    ``due``      position and time, in microseconds since 1970, of those that wait for it.
    ``lines``    what was in line behind them.
    ``left_at``  up to where the log had been swept when the trigger went.
    ``gone``     whether it was taken off, so that it holds nothing back.
    """

    trigger: str
    filter: str
    read: int
    open: list[tuple[int, int, Refusal | None]]
    tally: Tally
    delivered: int
    dead: int
    left_at: int
    gone: bool
    due: list[tuple[int, int]] = field(default_factory=list)
    lines: list[StoredLine] = field(default_factory=list)
