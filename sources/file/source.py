"""Reads files on a thread of its own, and emits what they have."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Protocol, TypeVar

from broker.errors import InvalidEvent
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, Json, SourceContext
from sources.file.events import event_of
from sources.file.spec import FileSpec
from sources.file.tail import Line
from sources.file.tails import Tails

T = TypeVar("T")

_LOOKS_EVERY: Final = 0.25
_SHARE: Final = 20
"""Where looking takes long, as among very many files, the pause after it is so many times that."""

_READS_FOR: Final = 1.0
"""Seconds after which files are looked for again, however much there is to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A line, and the event that it is or why it is none."""

    line: Line
    event: Event | InvalidEvent


class _Thread(Protocol):
    async def __call__(self, work: Callable[[], T]) -> T: ...


class FileSource:
    """Emits the lines that files have and get, through rotation and restarts.

    What was emitted and not yet saved comes again after a crash, with the same id.
    """

    Spec: ClassVar = FileSpec
    alone: ClassVar = True

    def __init__(self, spec: FileSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        pattern = os.path.abspath(spec.path)  # noqa: PTH100 - a pattern is no Path
        self._tails = Tails(pattern, longest=spec.max_line_bytes, now=time.monotonic)
        self._saved: Json = None

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled."""
        loop = asyncio.get_running_loop()
        self._saved = await self._context.load()
        from_end = self._saved is None and self._spec.start_at == "end"
        if self._saved is not None:
            self._tails.restore(self._saved)
        async with _a_thread(self._tails.close) as thread:
            while True:
                began = loop.time()
                trouble = await thread(partial(self._tails.look, from_end=from_end))
                took = loop.time() - began
                from_end = False
                self._tell(trouble)
                # Before the first event of a file, for the ids to be the same after a crash.
                await self._save()
                while self._tails.behind and loop.time() < began + took + _READS_FOR:
                    await self._pass_on(await thread(partial(self._take, self._tails.read)), emit)
                await self._pass_on(await thread(partial(self._take, self._tails.finish)), emit)
                self._context.lag(None if self._tails.behind else 0)
                if not self._tails.behind:
                    await asyncio.sleep(max(_LOOKS_EVERY, _SHARE * took))

    def _take(self, read: Callable[[], Sequence[Line]]) -> list[_Read]:
        """Return what there is, empty lines aside."""
        return [_Read(line=line, event=self._event_of(line)) for line in read() if line.data]

    def _event_of(self, line: Line) -> Event | InvalidEvent:
        try:
            return event_of(line, self._spec, self._context.uri)
        except InvalidEvent as error:
            return error

    async def _pass_on(self, taken: Sequence[_Read], emit: Emitter) -> None:
        events = [(each.line, each.event) for each in taken if isinstance(each.event, Event)]
        await pass_on(events, emit, self._reject)
        for each in taken:
            if isinstance(each.event, InvalidEvent):
                await self._reject(each.line, each.event)
        await self._save()

    async def _reject(self, line: Line, error: InvalidEvent) -> None:
        why = f"the line at byte {line.offset:,} of {line.path}: {error}"
        await self._context.reject(why, id=line.id, data=line.data)

    async def _save(self) -> None:
        place = self._tails.place
        if place != self._saved:
            await self._context.save(place)
            self._saved = place

    def _tell(self, trouble: str | None) -> None:
        if trouble is None:
            self._context.healthy()
        else:
            self._context.unhealthy(trouble)


@asynccontextmanager
async def _a_thread(last: Callable[[], None]) -> AsyncIterator[_Thread]:
    """Yield what runs a function on a thread of its own, and run ``last`` there in the end.

    A read that is cancelled is not interrupted: only after it are its files closed.
    """
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1, thread_name_prefix="cemesh-file")

    async def run(work: Callable[[], T]) -> T:
        return await loop.run_in_executor(executor, work)

    try:
        yield run
    finally:
        executor.submit(last)
        executor.shutdown(wait=False)
