"""Passes on what a source has taken from upstream, several things at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from broker.errors import InvalidEvent
from broker.event import Event
from broker.ports import Emitter

Thing = TypeVar("Thing")


async def pass_on(
    taken: Sequence[tuple[Thing, Event]],
    emit: Emitter,
    reject: Callable[[Thing, InvalidEvent], Awaitable[None]],
) -> None:
    """Emit the events of things together, or one by one where the broker refuses one of them.

    ``reject`` is awaited for the thing of each event that is refused, as too large for instance,
    and why. Returns once all of it is durable.
    """
    if not taken:
        return
    try:
        await emit([event for _, event in taken])
    except InvalidEvent as refusal:
        if len(taken) == 1:
            await reject(taken[0][0], refusal)
            return
        for each in taken:
            await pass_on([each], emit, reject)
