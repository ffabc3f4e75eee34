"""One event source, running: started again when it fails, with growing pauses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from broker import plugins
from broker.errors import CemeshError, UpstreamUnavailable
from broker.mesh.health import Health
from broker.mesh.sourcing import Context
from broker.observe.logging import SOURCE
from broker.ports import UNWATCHED, Channel, Tracer, Watcher
from broker.sourceplugin import SourcePlugin
from broker.status import SourceStatus
from broker.trigger import Source

_log: Final = logging.getLogger("cemesh.sources")

_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 60.0

_ENDS_WITHIN: Final = 10.0
"""Seconds that a source has to end once it is cancelled."""


class SourceRun:
    """Runs a source until it is stopped. One that ends or fails is started again.

    ``channel`` returns that of its broker, which may be another one after a change of the files.
    ``plugin`` is what the source is, where that is not looked up by its kind.
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
        self._plugin = plugin
        self._channel = channel
        self._watch = watch
        self._tracer = tracer
        self._name = f"{source.kind} {source.key}"
        self._health = Health(self._name)
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> SourceStatus:
        return self._health.status(self.source)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._run())

    async def stop(self) -> None:
        """Cancel the source, and return once it has ended.

        One that does not end within 10 s is left alone: nothing that it emits is taken any more.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            started = loop.time()
            fault: Exception | None = None
            upstream = False
            try:
                await self._run_once()
                why = "it ended by itself"
            except CemeshError as error:
                why, upstream = str(error), isinstance(error, UpstreamUnavailable)
            except Exception as error:  # noqa: BLE001 - a plug-in's faults are not the mesh's
                why, fault = f"{type(error).__name__}: {error}", error
            if self._health.was_well or loop.time() - started > _LAST_PAUSE:
                pause = _FIRST_PAUSE
            self._health.ended(why, fault=fault, upstream=upstream)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _run_once(self) -> None:
        plugin = self._plugin or plugins.source_of(self.source.kind, self.source.at)
        if not plugin.alone:
            await self._work(plugin)
            return
        self._health.stands_by()
        await self._channel().alone(self._name, lambda: self._work(plugin))

    async def _work(self, plugin: SourcePlugin) -> None:
        self._health.runs()
        context = Context(
            self.source, self._channel, self._health, watch=self._watch, tracer=self._tracer
        )
        SOURCE.set(self._name)
        try:
            made = plugin.make(self.source.spec, context)
            await _until_ended(made.run(context.emit), self._name)
        finally:
            context.close()


async def _until_ended(work: Coroutine[object, object, None], name: str) -> None:
    """Await ``work``; cancelled, let it end as well, but not wait for that for ever."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=_ENDS_WITHIN)
        if not ended:
            told = f"cancelled, it goes on after {_ENDS_WITHIN:g} s: it is left alone"
            _log.error("source does not end", extra={"source": name, "why": told})
        elif not task.cancelled() and (error := task.exception()) is not None:
            why = f"{type(error).__name__}: {error}"
            _log.warning("source failed as it ended", extra={"source": name, "why": why})
        raise
    await task
