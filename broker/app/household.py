"""A mesh in as many processes as it takes: often in this one alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Self

from broker.app.certificates import PortCertificate
from broker.app.making import Made
from broker.app.serving import Port, served
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.mesh import Mesh
from broker.observe.logging import set_level
from broker.ports.stories import Stories
from broker.settings import LogLevel, Settings
from broker.workers.connections import Connections
from broker.workers.gathered import Gathered
from broker.workers.link import Handler
from broker.workers.stories import GatheredStories, RemoteStories
from broker.workers.worker import Worker, kept


class Household:
    """The mesh that was ``made`` in this process, and workers of these ``numbers`` beside it.

    ``mesh`` is all of them as one, ``stories`` are those of all. The workers run while this is
    entered.
    """

    def __init__(self, made: Made, settings: Settings, numbers: Sequence[int]) -> None:
        self._made = made
        self._settings = settings
        self._workers = [
            Worker(each, settings, processes=1 + len(numbers), upstream=self._upstream())
            for each in numbers
        ]
        self._running = AsyncExitStack()
        self.mesh: Mesh | Gathered = made.mesh
        self.stories: Stories | None = made.stories
        if self._workers:
            self.mesh = Gathered(made.mesh, self._workers)
            if made.stories is not None:
                of_workers = [RemoteStories(each) for each in self._workers]
                self.stories = GatheredStories([made.stories, *of_workers])
            made.callbacks.elsewhere = self._consent_of_workers

    async def __aenter__(self) -> Self:
        await self._running.enter_async_context(kept(self._workers))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._running.aclose()

    def stop(self) -> None:
        """Let the workers finish what is under way."""
        for each in self._workers:
            each.stop()

    def hurry(self) -> None:
        """Give nothing time to finish any more."""
        self._made.mesh.hurry()
        for each in self._workers:
            each.hurry()

    async def set_log_level(self, level: LogLevel) -> None:
        """Have all processes log from that level on, until they are stopped."""
        set_level(level)
        await asyncio.gather(*(each.set_log_level(level) for each in self._workers))

    @asynccontextmanager
    async def open(
        self, listener: socket.socket, tls: PortCertificate | None
    ) -> AsyncIterator[Port]:
        """Take events from whoever comes to the listener, while the context lasts.

        Workers beyond those that were asked for only deliver what is left in their shards.
        """
        others = [each.take for each in self._workers if each.number < self._settings.workers]
        producers, door = self._made.producers, self._made.door
        linger = self._settings.drain_timeout
        if not others:
            async with served(producers, listener, linger=linger, door=door, tls=tls) as port:
                yield port
            return
        async with served(producers, None, linger=linger, door=door, tls=tls) as port:
            with Connections(listener, port.take, others) as connections:
                port.on_close(connections.close)
                yield port

    # --- what the workers call -------------------------------------------------------------

    def _upstream(self) -> Mapping[str, Handler]:
        """Return what `ShardChannel`, and a subscriber's consent, ask for."""
        channel = self._made.mesh.channel
        return {
            "append": self._append,
            "paused": lambda broker: channel(broker).pauses.all(),
            "put_pause": lambda broker, *pause: channel(broker).pauses.put(*pause),
            "remove_pause": lambda broker, trigger: channel(broker).pauses.remove(trigger),
            "consent": self._consent,
        }

    def _append(self, broker: str, events: Sequence[Event]) -> Awaitable[None]:
        entrance = self._made.mesh.find(broker)
        if entrance is None:
            raise ChannelUnavailable(f"the broker {broker} does not run")
        return entrance.emit(events)

    async def _consent(self, path: str, allowed_rate: bytes | None) -> str | None:
        return await self._made.callbacks.take(path, allowed_rate)

    async def _consent_of_workers(self, path: str, allowed_rate: bytes | None) -> str | None:
        for each in self._workers:
            with suppress(LookupError, ChannelUnavailable):
                fault: str | None = await each.call("consent", path, allowed_rate)
                return fault
        raise LookupError(path)
