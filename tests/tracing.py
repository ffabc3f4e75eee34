"""A tracer that keeps what it was asked for, and needs nothing beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from broker.event import Event
from broker.ports import Answer, Arrival, Origin, Reason

OWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Tracing:
    """A `broker.ports.Tracer` that keeps whose children it was asked for: each span is `OWN`."""

    def __init__(self) -> None:
        self.came: list[Event] = []
        self.parents: list[str | None] = []
        self.refused: list[tuple[str, int, Reason, str | None]] = []

    def arrive(
        self,
        events: Sequence[Event],
        origin: Origin,
        *,
        parent: str | None = None,
        cause: str | None = None,
    ) -> tuple[Sequence[Event], Origin]:
        self.came += events
        self.parents.append(parent)
        arrival = Arrival(0.0, [parent] * len(events), cause)
        return [replace(each, trace=OWN) for each in events], origin._replace(arrival=arrival)

    def refuse(
        self, broker: str, status: int, reason: Reason, *, parent: str | None, seconds: float
    ) -> None:
        self.refused.append((broker, status, reason, parent))

    def begin(self, event: Event) -> Event:
        raise AssertionError(event)

    async def send_together(
        self,
        trigger: str,
        events: Sequence[Event],
        send: Callable[[Sequence[Event]], Awaitable[Answer]],
    ) -> Answer:
        raise AssertionError(trigger)
