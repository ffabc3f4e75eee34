"""A source that is called: see `broker.ports.Receiver`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from broker import plugins
from broker.mesh.health import Health
from broker.mesh.sourcing import Context
from broker.observe.logging import SOURCE
from broker.ports import (
    UNWATCHED,
    Channel,
    Emitted,
    HttpReply,
    HttpRequest,
    Receiver,
    Tracer,
    Watcher,
)
from broker.sourceplugin import SourcePlugin
from broker.status import SourceStatus
from broker.tracecontext import of_headers
from broker.trigger import Source

_TAKEN: Final = HttpReply()


class ReceiverRun:
    """A source that is called, in one process.

    ``channel`` returns that of its broker, which may be another one after a change of the files.
    ``plugin`` is what the source is, where that is not looked up by its kind. Raises whatever it
    raises as it is made.
    """

    def __init__(
        self,
        source: Source,
        channel: Callable[[], Channel],
        *,
        plugin: SourcePlugin | None = None,
        watch: Watcher = UNWATCHED,
        tracer: Tracer | None = None,
    ) -> None:
        self.source = source
        self._health = Health(f"{source.kind} {source.key}")
        self._health.runs()
        context = Context(source, channel, self._health, watch=watch, tracer=tracer)
        self._context = context
        self._is_traced = tracer is not None
        plugin = plugin or plugins.source_of(source.kind, source.at)
        self._receiver: Receiver = plugin.make(source.spec, context)

    @property
    def broker(self) -> str:
        return self.source.broker

    @property
    def status(self) -> SourceStatus:
        return self._health.status(self.source)

    async def receive(self, request: HttpRequest) -> HttpReply:
        """Return how to answer the request; raises whatever the source raises."""
        SOURCE.set(f"{self.source.kind} {self.source.key}")  # for this request's own task
        parent = of_headers(request.headers) if self._is_traced else None
        return await self._receiver.receive(request, _AtOnce(self._context, parent)) or _TAKEN


class _AtOnce:
    """See `broker.ports.Emitter`: one that never waits, as somebody waits for an answer.

    What it emits follows from the span ``parent``, if that is known.
    """

    def __init__(self, context: Context, parent: str | None) -> None:
        self._context = context
        self._parent = parent

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        await self.at_once(events)

    async def at_once(self, events: Emitted | Iterable[Emitted]) -> None:
        await self._context.at_once(self._context.checked(events), parent=self._parent)
