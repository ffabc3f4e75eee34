"""One event source, running: started again when it fails, with growing pauses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from broker import plugins
from broker.errors import InvalidEvent
from broker.event import Event
from broker.ports import Emit
from broker.trigger import Source

_log: Final = logging.getLogger("cemesh.sources")

_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 60.0


class SourceRun:
    """Runs a source until it is cancelled. One that ends or fails is started again."""

    def __init__(self, source: Source, emit: Emit) -> None:
        self.source = source
        self.state: Literal["running", "restarting"] = "running"
        self.error: str | None = None
        self._emit = _checked(emit, source.extensions)
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._run())

    async def stop(self) -> None:
        """Cancel the source, and return once it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            started = loop.time()
            try:
                await self._run_once()
                self.error = "it ended by itself"
            except Exception as error:  # noqa: BLE001 - a plug-in's faults are not the mesh's
                self.error = f"{type(error).__name__}: {error}"
                _log.exception("source failed", extra={"source": self.source.key})
            if loop.time() - started > _LAST_PAUSE:
                pause = _FIRST_PAUSE
            self.state = "restarting"
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _run_once(self) -> None:
        self.state = "running"
        namespace, _, name = self.source.key.partition("/")
        plugin = plugins.source(self.source.kind)
        await plugin(self.source.spec, namespace=namespace, name=name).run(self._emit)


def _checked(emit: Emit, extensions: Mapping[str, str]) -> Emit:
    """Return an `emit` that takes only valid events, and adds the extensions to each.

    A source is a plug-in, and may have made its events in any way.
    """

    async def emit_checked(events: Sequence[Event]) -> None:
        for event in events:
            _check_types(event)
            Event.checked(event.attributes, event.data, event.kinds)
        if extensions:
            events = [event.with_attributes(extensions, {}) for event in events]
        await emit(events)

    return emit_checked


def _check_types(event: Event) -> None:
    """Raise `InvalidEvent` where a source does not keep to what type checkers would tell it."""
    for name, value in event.attributes.items():
        if type(value) is not str:
            raise InvalidEvent(f"'{name}' is a {type(value).__name__}, not a str", attribute=name)
    if type(event.data) not in (bytes, type(None)):
        raise InvalidEvent(f"the data is a {type(event.data).__name__}, not bytes")
