"""What gives events the spans that they come from, where traces are on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from broker.event import Event
from broker.ports.sinks import Answer
from broker.ports.watching import Origin, Reason


class Tracer(Protocol):
    """Is asked before something is done with events, and records it as a `Watcher` when it is told.

    What is never told, as it was broken off, is not recorded. Every span is a child of what the
    event came from: where it has no ``trace``, of what its attribute ``traceparent`` tells, and
    where it has none either, the first of a new trace.
    """

    def arrive(
        self,
        events: Sequence[Event],
        origin: Origin,
        *,
        parent: str | None = None,
        cause: str | None = None,
    ) -> tuple[Sequence[Event], Origin]:
        """Return the events, to be stored, each with a span of its own, and their origin.

        The origin is for `Watcher.accepted`. The spans are children of ``parent``, if it is known
        how the events came, and linked to ``cause``, the span of the event that a reply is to.
        """
        ...

    def refuse(
        self, broker: str, status: int, reason: Reason, *, parent: str | None, seconds: float
    ) -> None:
        """Record that a request to the broker was answered with that status, after so long."""
        ...

    def begin(self, event: Event) -> Event:
        """Return the event, to be sent, with the span of one attempt, which is an `Attempt`'s."""
        ...

    async def send_together(
        self,
        trigger: str,
        events: Sequence[Event],
        send: Callable[[Sequence[Event]], Awaitable[Answer]],
    ) -> Answer:
        """Return what ``send`` returns for the events, which go by one request with one span."""
        ...
