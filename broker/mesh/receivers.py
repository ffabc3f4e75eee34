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
        self._emit = _AtOnce(context)
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
        return await self._receiver.receive(request, self._emit) or _TAKEN


class _AtOnce:
    """See `broker.ports.Emitter`: one that never waits, as somebody waits for an answer."""

    def __init__(self, context: Context) -> None:
        self.at_once = context.emit.at_once

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        await self.at_once(events)
