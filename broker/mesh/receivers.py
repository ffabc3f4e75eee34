"""A source that is called: see `broker.ports.Receiver`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from broker import plugins
from broker.errors import ChannelFull, ChannelUnavailable
from broker.mesh.health import Health
from broker.mesh.sourcing import Context
from broker.ports import Channel, Emitted, HttpReply, HttpRequest, Receiver
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
        self, source: Source, channel: Callable[[], Channel], *, plugin: SourcePlugin | None = None
    ) -> None:
        self.source = source
        self._health = Health(f"{source.kind} {source.key}")
        self._health.runs()
        self._emit = _AtOnce(Context(source, channel, self._health), self._health)
        plugin = plugin or plugins.source_of(source.kind, source.at)
        self._receiver: Receiver = plugin.make(source.spec, self._emit.context)

    @property
    def broker(self) -> str:
        return self.source.broker

    @property
    def status(self) -> SourceStatus:
        return self._health.status(self.source)

    async def receive(self, request: HttpRequest) -> HttpReply:
        """Return how to answer the request; raises whatever the source raises."""
        return await self._receiver.receive(request, self._emit) or _TAKEN


class _AtOnce:
    """See `broker.ports.Emitter`: one that never waits, as somebody waits for an answer."""

    def __init__(self, context: Context, health: Health) -> None:
        self.context = context
        self._health = health

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        try:
            await self.context.emit.at_once(events)
        except (ChannelUnavailable, ChannelFull) as error:
            self._health.store(str(error))
            raise
        self._health.store(None)

    at_once = __call__
