"""A source that runs, without a mesh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final, cast

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.event import Event
from broker.filters import EVERYTHING
from broker.mesh.receivers import ReceiverRun
from broker.mesh.sources import SourceRun
from broker.ports import (
    BackendOptions,
    Channel,
    Cursor,
    DeadLetter,
    HttpReply,
    HttpRequest,
    Outcome,
)
from broker.sourceplugin import source_plugin
from broker.status import SourceState, SourceStatus
from broker.trigger import Source

SOON: Final = timedelta(seconds=30)

_ALL: Final = 1_000_000
_LOOK_AGAIN: Final = 0.005
_OPTIONS: Final = BackendOptions(
    data_dir="", retention_age=timedelta(days=1), retention_bytes=256 << 20
)


@asynccontextmanager
async def running(
    source: object,
    spec: object = None,
    *,
    name: str = "test",
    namespace: str = "default",
    extensions: Mapping[str, str] | None = None,
) -> AsyncIterator[RunningSource]:
    """Run a source, a class or a coroutine function, while the context lasts.

    ``spec`` is an instance of its model, ``extensions`` what a manifest would add to its events.
    Raises `PluginNotFound` where it can be no source, with what is wrong with it.
    """
    described = Source(
        kind=getattr(source, "__name__", type(source).__name__),
        key=f"{namespace}/{name}",
        broker=f"{namespace}/default",
        spec=spec,
        extensions=extensions or {},
    )
    run = RunningSource(described, source)
    channel = run._channel
    async with (
        channel.subscribe("default/test", filter=EVERYTHING, window=_ALL) as cursor,
        asyncio.TaskGroup() as tasks,
    ):
        reading = tasks.create_task(run._read(cursor))
        run._start(tasks)
        try:
            yield run
        finally:
            await run.stop()
            reading.cancel()


class RunningSource:
    """A source that runs: what it has emitted, and what can happen to it. See `running`."""

    def __init__(self, source: Source, loaded: object) -> None:
        self._source = source
        self._plugin = source_plugin(loaded, source.kind)
        self._backend = MemoryBackend(_OPTIONS)
        self._channel = MemoryChannel(self._backend, _OPTIONS.retention_bytes)
        self._emitted: asyncio.Queue[Event] = asyncio.Queue()
        self._unheard: asyncio.Event | None = None
        self._run = self._new_run()

    @property
    def status(self) -> SourceStatus:
        """What operators would see of it now."""
        return self._run.status

    async def events(self, count: int, *, within: timedelta = SOON) -> list[Event]:
        """Return the next ``count`` events that it has emitted, in their order.

        Raises `AssertionError` where fewer come in that time, with what is wrong with the source.
        """
        found: list[Event] = []
        try:
            async with asyncio.timeout(within.total_seconds()):
                while len(found) < count:
                    found.append(await self._emitted.get())
        except TimeoutError:
            raise AssertionError(self._missing(f"{len(found)} of {count} events came")) from None
        return found

    async def rejected(self, count: int, *, within: timedelta = SOON) -> Sequence[DeadLetter]:
        """Return the ``count`` messages that it has rejected until now, once there are so many.

        Raises `AssertionError` where there are fewer within that time, with what is wrong with the
        source.
        """
        found: Sequence[DeadLetter] = []
        try:
            async with asyncio.timeout(within.total_seconds()):
                while len(found) < count:
                    found = await self._channel.dead_letters.list(limit=_ALL)
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            told = f"{len(found)} of {count} messages were rejected"
            raise AssertionError(self._missing(told)) from None
        return found

    async def until(self, state: SourceState, *, within: timedelta = SOON) -> SourceStatus:
        """Return what operators see of it, once it is in that state.

        Raises `AssertionError` where it is not within that time, with what is wrong with it.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                while (status := self.status).state != state:
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            raise AssertionError(self._missing(f"it did not come to be {state}")) from None
        return status

    async def call(self, request: HttpRequest) -> HttpReply:
        """Return how the source, which is one that is called, answers the request.

        Raises what it raises: `ChannelUnavailable` where the store is away, and `TypeError` where
        it is a source that runs.
        """
        if not isinstance(self._run, ReceiverRun):
            raise TypeError(f"{self._source.kind} has no `receive`: it is a source that runs")
        return await self._run.receive(request)

    async def stop(self) -> None:
        """Cancel it, and return once it has ended."""
        if isinstance(self._run, SourceRun):
            await self._run.stop()

    def start(self) -> None:
        """Run it anew, once it was stopped, with the place that it has saved."""
        self._run = self._new_run()
        self._start(self._tasks)

    async def restart(self) -> None:
        """Stop it and run it anew."""
        await self.stop()
        self.start()

    async def crash(self, *, within: timedelta = SOON) -> None:
        """Let it emit once more, and end before it knows that this is durable, as by `kill -9`.

        `start` runs it anew. Raises `AssertionError` where it emits nothing within that time, with
        what is wrong with the source.
        """
        self._unheard = asyncio.Event()
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._unheard.wait()
        except TimeoutError:
            raise AssertionError(self._missing("nothing was emitted amid a crash")) from None
        finally:
            await self.stop()
            self._unheard = None

    @contextmanager
    def outage(self, why: str = "the store is away") -> Iterator[None]:
        """Take the broker's store away while the context lasts."""
        self._backend.outage = why
        try:
            yield
        finally:
            self._backend.outage = None

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        if isinstance(self._run, SourceRun):
            self._run.start(tasks)

    def _new_run(self) -> SourceRun | ReceiverRun:
        run = ReceiverRun if self._plugin.receives else SourceRun
        return run(self._source, self._way_in, plugin=self._plugin)

    def _way_in(self) -> Channel:
        if self._unheard is None:
            return self._channel
        return cast("Channel", _Unheard(self._channel, self._unheard))

    async def _read(self, cursor: Cursor) -> None:
        async for claim in cursor.claims():
            self._emitted.put_nowait(claim.event)
            cursor.settle(claim, Outcome.DELIVERED)

    def _missing(self, what: str) -> str:
        now = self.status
        wrong = "" if now.error is None else f": {now.error}"
        return f"{what}; the source is {now.state}{wrong}"


class _Unheard:
    """A channel that stores events and tells nobody."""

    def __init__(self, channel: Channel, stored: asyncio.Event) -> None:
        self._channel = channel
        self._stored = stored

    def __getattr__(self, name: str) -> object:
        return getattr(self._channel, name)

    async def append(self, events: Sequence[Event]) -> None:
        await self._channel.append(events)
        self._stored.set()
        await asyncio.Event().wait()
