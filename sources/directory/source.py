"""Looks at a folder on a thread of its own, and emits what came into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, Final, TypeVar

from broker.errors import InvalidEvent
from broker.event import Event
from broker.ports import Emitter, Json, SourceContext
from sources.directory.files import shown
from sources.directory.folder import Folder, Taken
from sources.directory.spec import DirectorySpec

T = TypeVar("T")

_SHARE: Final = 5
"""Where looking takes long, as among very many files, the pause after it is so many times that."""


class DirectorySource:
    """Emits an event for each file that is put into a folder, or changed there.

    What was emitted and not yet saved, moved or deleted comes again after a crash, with the same
    id.
    """

    Spec: ClassVar = DirectorySpec
    alone: ClassVar = True

    def __init__(self, spec: DirectorySpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._folder = Folder(spec, context.uri, now=time.monotonic)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="cemesh-directory")
        self._saved: Json = None

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled."""
        try:
            if self._spec.afterwards == "keep":
                self._saved = await self._context.load()
                if self._saved is not None:
                    self._folder.restore(self._saved)
            await self._watch(emit)
        finally:
            # A read that is cancelled is not interrupted: the thread ends after it.
            self._executor.shutdown(wait=False)

    async def _watch(self, emit: Emitter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            ready = await self._on_the_thread(self._folder.look)
            took = loop.time() - began
            self._tell()
            for batch in self._folder.batches(ready):
                taken = await self._on_the_thread(partial(self._folder.take, batch))
                await self._pass_on(taken, emit)
                self._tell()
            await self._save()
            await asyncio.sleep(max(self._spec.interval.total_seconds(), _SHARE * took))

    async def _pass_on(self, taken: Sequence[Taken], emit: Emitter) -> None:
        valid = [each for each in taken if isinstance(each.event, Event)]
        if valid:
            await self._store(valid, emit)
        for each in taken:
            if isinstance(each.event, InvalidEvent):
                await self._reject(each, each.event)
        await self._save()

    async def _store(self, taken: Sequence[Taken], emit: Emitter) -> None:
        """Emit the events together, or one by one where the broker refuses one of them."""
        try:
            await emit([each.event for each in taken if isinstance(each.event, Event)])
        except InvalidEvent as refusal:
            if len(taken) == 1:
                await self._reject(taken[0], refusal)
                return
            for each in taken:
                await self._store([each], emit)
        else:
            await self._on_the_thread(partial(self._folder.told, taken))

    async def _reject(self, taken: Taken, error: InvalidEvent) -> None:
        now_at = "" if taken.moved_to is None else f"; it is moved to {shown(taken.moved_to)}"
        why = f"{shown(taken.file.path)}: {error}{now_at}"
        await self._context.reject(why, id=taken.file.id)
        await self._on_the_thread(partial(self._folder.told, [taken], rejected=True))

    async def _save(self) -> None:
        if self._spec.afterwards != "keep":
            return
        place = await self._on_the_thread(lambda: self._folder.place)
        if place != self._saved:
            await self._context.save(place)
            self._saved = place

    def _tell(self) -> None:
        trouble = self._folder.trouble
        if trouble is None:
            self._context.healthy()
        else:
            self._context.unhealthy(trouble)
        self._context.lag(self._folder.waiting)

    async def _on_the_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
