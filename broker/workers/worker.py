"""The workers of a mesh, as the first process has them: kept running, and asked how they stand."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from socket import socket
from typing import Any, Final

from broker.errors import CemeshError, ChannelUnavailable, DataDirectoryInUse
from broker.event import Event
from broker.mesh.parts import of_parts
from broker.settings import LogLevel, Settings
from broker.status import MeshStatus, Order, Parked, Redriven, WorkerStatus
from broker.trigger import Desired
from broker.workers.archive import RemoteArchive
from broker.workers.former import Former
from broker.workers.link import Handler, Link
from broker.workers.process import PARTS, Assignment, WorkerProcess

_log: Final = logging.getLogger("cemesh.workers")

_FIRST_PAUSE: Final = 0.5
_LAST_PAUSE: Final = 30.0
"""Seconds until a worker that has ended is started again: at first, and when it ends each time."""

_LASTS: Final = 60.0
"""Seconds after which a worker that ends counts as one that had worked."""

_LEFT_BEHIND: Final = 10.0
"""Seconds for which the workers of a mesh that was killed may still hold their shards."""

_GRACE: Final = 5.0
"""Seconds beyond the drain timeout that a worker may take to stop before it is killed."""

_ANSWERS: Final = 5.0
"""Seconds within which a worker tells how it stands; then what it told last is told."""


@asynccontextmanager
async def kept(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Keep these running while the context lasts.

    Raises a `CemeshError` where one cannot be started at first.
    """
    keeping: list[asyncio.Task[None]] = []
    try:
        found = await asyncio.gather(*(each.start() for each in workers), return_exceptions=True)
        keeping = [asyncio.create_task(each.keep()) for each in workers]
        for failed in filter(None, found):
            raise failed
        yield
    finally:
        for each in workers:
            each.stop()
        await asyncio.gather(*keeping)


class Worker:
    """One worker, whichever process does its work. ``upstream`` is what it may call here."""

    def __init__(
        self, number: int, settings: Settings, *, processes: int, upstream: Mapping[str, Handler]
    ) -> None:
        self.number = number
        self._assignment = Assignment(
            settings=settings, number=number, processes=processes, path=tuple(sys.path)
        )
        self._upstream = upstream
        self._drain_timeout = settings.drain_timeout
        self._process: WorkerProcess | None = None
        self._link = Link(f"worker {number}", handlers={})  # until there is one
        self._desired: Desired | None = None
        self._runs = False
        self._told: MeshStatus | None = None
        self._lives = 0  # processes of its that have ended
        self._has_begun = False  # this one, to run what is desired
        self._former = Former()
        self._stopping = asyncio.Event()

    # --- its life --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start its process. Raises a `CemeshError`."""
        given = self._assignment
        self._process = await WorkerProcess.start(given, self._upstream)
        self._link = self._process.link
        if self._assignment is not given:  # which it was told too early to hear
            self._link.tell("log", self._assignment.settings.log_level)

    async def keep(self) -> None:
        """Start it again whenever it ends, until `stop`; return once it has ended then."""
        pause, loop = _FIRST_PAUSE, asyncio.get_running_loop()
        while self._process is not None:
            started = loop.time()
            await self._until_it_ends(self._process)
            if self._stopping.is_set():
                return
            pause = _FIRST_PAUSE if loop.time() - started > _LASTS else pause
            how = {"worker": self.number, "how": self._process.end, "again_in": f"{pause} s"}
            _log.error("worker ended", extra=how)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
                return
            pause = min(2 * pause, _LAST_PAUSE)
            await self._start_again()

    async def _start_again(self) -> None:
        try:
            await self.start()
            if self._desired is not None:
                await self._run()
        except (CemeshError, OSError) as error:
            _log.error("worker cannot start", extra={"worker": self.number, "why": str(error)})
            if self._process is not None:
                self._process.kill()
        else:
            _log.info("worker started", extra={"worker": self.number})

    async def _until_it_ends(self, process: WorkerProcess) -> None:
        """Return once the process has ended. One that was told to stop and does not is killed."""
        ending = asyncio.ensure_future(process.ended())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ending.done():
            process.link.tell("stop")  # once more, as one that has only just started did not hear
            within = self._drain_timeout.total_seconds() + _GRACE
            await asyncio.wait([ending], timeout=within)
        if not ending.done():
            _log.error("worker killed, as it did not stop", extra={"worker": self.number})
            process.kill()
        await ending
        self._runs = self._has_begun = False
        self._lives += 1
        if self._told is not None:
            self._told = self._former.take(self._told)

    def stop(self) -> None:
        """Let it finish what is under way, and end."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._runs = False
            self._link.tell("stop")

    def hurry(self) -> None:
        """Give it no time to finish any more."""
        self._drain_timeout = timedelta(0)
        self._link.tell("hurry")

    # --- what it runs ----------------------------------------------------------------------

    async def apply(self, desired: Desired) -> None:
        """Make it run its part of that: now, and whenever it starts again.

        Raises a `CemeshError` as `broker.mesh.Mesh.apply` does.
        """
        is_first = self._desired is None
        self._desired = of_parts(desired, PARTS)
        if is_first:
            await self._run_as_soon_as_free()
        elif self._runs:
            await self._run()

    async def _run(self) -> None:
        """Make it run what is desired, also where that changes before it does."""
        applied = None
        while applied is not self._desired:
            applied = self._desired
            await self._link.call("apply", applied)
        self._has_begun = True
        self._runs = not self._stopping.is_set()

    async def _run_as_soon_as_free(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _LEFT_BEHIND
        while not self._runs:
            try:
                await self._run()
            except DataDirectoryInUse:
                if loop.time() > until:
                    raise
                await asyncio.sleep(0.1)

    def take(self, connection: socket) -> bool:
        """Hand it a connection, and return whether it takes one now."""
        return self._runs and self._process is not None and self._process.take(connection)

    # --- what is asked of it ---------------------------------------------------------------

    def call(self, name: str, *args: object, **options: object) -> asyncio.Future[Any]:
        """Have it do that; see `Link.call`."""
        return self._link.call(name, *args, **options)

    def follow(self, name: str, *args: object) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Follow a stream of it; see `Link.follow`."""
        return self._link.follow(name, *args)

    @property
    def seen(self) -> WorkerStatus:
        """Whether it runs."""
        if self._process is None or not self._runs:
            return WorkerStatus(number=self.number, pid=None, state="starting")
        return WorkerStatus(number=self.number, pid=self._process.pid, state="running")

    async def not_ready(self) -> Sequence[str]:
        if not self._runs:
            return [f"worker {self.number} is starting"]
        try:
            reasons: Sequence[str] = await self.call("not_ready")
        except ChannelUnavailable as error:
            return [str(error)]
        return reasons

    async def status(self) -> MeshStatus:
        """Return what it tells, or told last; ``elsewhere`` is what it has counted.

        That is since this process started, however often the worker has, as far as is known: no
        counter ever goes down. Not `MeshStatus.is_whole` before it has told anything.
        """
        lives = self._lives
        if self._has_begun:  # otherwise it has not opened its books yet, and would tell of none
            with suppress(ChannelUnavailable, TimeoutError):
                async with asyncio.timeout(_ANSWERS):
                    told = await self.call("status")
                if lives == self._lives:  # or its counts are among those before
                    self._told = told
        if self._told is None:
            return MeshStatus(brokers=(), sources=(), problems=(), is_whole=False)
        return self._former.add(self._told)

    def archive(self, broker: str) -> RemoteArchive:
        """Return what it keeps of a broker."""
        return RemoteArchive(broker, self)

    async def set_log_level(self, level: LogLevel) -> None:
        """Have it log from that level on: now, and whenever it starts again."""
        settings = replace(self._assignment.settings, log_level=level)
        self._assignment = replace(self._assignment, settings=settings)
        with suppress(ChannelUnavailable):  # it does not run now
            await self.call("log", level)

    async def parked(self, trigger: str) -> Sequence[Parked]:
        parked: Sequence[Parked] = await self.call("parked", trigger)
        return parked

    async def order(
        self, trigger: str, order: Order, *, id: str | None, source: str | None
    ) -> Sequence[Parked]:
        events: Sequence[Parked] = await self.call("order", trigger, order, id=id, source=source)
        return events

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        redriven: Redriven = await self.call("redrive", broker, ids)
        return redriven

    async def redrive_edited(self, broker: str, id: str, edited: Event) -> Redriven:
        redriven: Redriven = await self.call("redrive_edited", broker, id, edited)
        return redriven
