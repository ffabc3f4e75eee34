"""A worker: takes events that the first process hands it, into a shard of its own.

It is told what to run, reads no files but those of certificates, and ends when the first process
does.
"""

from __future__ import annotations

import asyncio
import pickle  # from the process that has started this one
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace

import uvloop

from broker.app.certificates import kept_fresh
from broker.app.making import Made, collect_rarely, hurried_interpreter
from broker.app.serving import Port, served
from broker.channels.causes import causes_of
from broker.event import Event
from broker.observe.logging import configure, set_level
from broker.settings import LogLevel
from broker.status import MeshStatus
from broker.trigger import Desired
from broker.workers.link import Handler, Link
from broker.workers.process import PARTS, Assignment


def main() -> None:
    """Run until the first process says so, or is gone. Its two sockets are the arguments."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to every process
    assignment: Assignment = pickle.load(sys.stdin.buffer)  # noqa: S301 - see above
    sys.path[:] = assignment.path
    end, connections = (socket.socket(fileno=int(each)) for each in sys.argv[1:3])
    settings = assignment.settings
    configure(settings.log_format, settings.log_level, worker=assignment.number)
    with hurried_interpreter():
        uvloop.run(_Worker(assignment).run(end, connections))


class _Worker:
    def __init__(self, assignment: Assignment) -> None:
        handlers: dict[str, Handler] = {}
        self._settings = assignment.settings
        self._link = Link(
            "the first process",
            handlers=handlers,
            streams={"tail": self._tail},
            on_lost=self._lost,
        )
        self._made = Made.of(
            assignment.settings,
            parts=PARTS,
            number=assignment.number,
            processes=assignment.processes,
            upstream=self._link,
        )
        self._made.callbacks.elsewhere = self._consent_elsewhere
        self._mesh = self._made.mesh
        handlers.update(self._handlers())
        self._stopping = asyncio.Event()
        self._wanted: asyncio.Queue[tuple[Desired, asyncio.Future[None]]] = asyncio.Queue()
        self._port: Port | None = None
        self._runs = False

    async def run(self, end: socket.socket, connections: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        async with AsyncExitStack() as running:
            if self._made.traces is not None:
                drain_timeout = self._settings.drain_timeout
                running.push_async_callback(self._made.traces.close, drain_timeout)
            if self._made.stories is not None:
                await running.enter_async_context(self._made.stories)
            await running.enter_async_context(self._mesh)
            await running.enter_async_context(kept_fresh(self._made.renewed))
            self._port = port = await running.enter_async_context(
                served(
                    self._made.producers,
                    None,
                    linger=self._settings.drain_timeout,
                    door=self._made.door,
                    tls=self._made.tls,
                )
            )
            await self._link.open(end)
            connections.settimeout(0)
            loop.add_reader(connections, self._take, connections, port)
            await self._apply_until_stopped()
            loop.remove_reader(connections)
            self._take(connections, port)  # what was handed over and not yet taken
            port.close()
            await self._mesh.drain()
        self._link.close()

    async def _apply_until_stopped(self) -> None:
        """Apply what is wanted, in the task that has entered the mesh."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        while not self._stopping.is_set():
            wanted = asyncio.ensure_future(self._wanted.get())
            await asyncio.wait([wanted, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                wanted.cancel()
                break
            desired, applied = wanted.result()
            try:
                await self._mesh.apply(desired)
            except Exception as error:  # noqa: BLE001 - it is raised in the first process
                applied.set_exception(error)
            else:
                applied.set_result(None)
                self._made.metrics.keep_to(desired)
                if not self._runs:  # what later changes make may go again
                    self._runs = True
                    collect_rarely()
        stopping.cancel()

    def _take(self, connections: socket.socket, port: Port) -> None:
        """Take the connections that were handed over."""
        while True:
            try:
                received, found, _, _ = socket.recv_fds(connections, 1, 1)
            except BlockingIOError:
                return
            if not received:  # nobody is there to hand any over
                asyncio.get_running_loop().remove_reader(connections)
                return
            for each in found:
                port.take(socket.socket(fileno=each))

    def _lost(self) -> None:
        """End at once: whoever takes the place of the first process needs the shard."""
        self._hurry()
        self._stopping.set()

    def _hurry(self) -> None:
        self._mesh.hurry()
        if self._port is not None:
            self._port.break_off()

    # --- what the first process calls ------------------------------------------------------

    def _handlers(self) -> Mapping[str, Handler]:
        mesh, stories = self._mesh, self._made.stories
        handlers: dict[str, Handler] = {
            "hello": self._hello,
            "stop": self._stop,
            "hurry": self._break_off,
            "apply": self._apply,
            "status": self._status,
            "not_ready": mesh.not_ready,
            "heed": mesh.heed,
            "resume": mesh.resume,
            "parked": mesh.parked,
            "order": mesh.order,
            "redrive": mesh.redrive,
            "redrive_edited": mesh.redrive_edited,
            "log": self._log,
            "consent": self._consent,
            "history": lambda broker, **asked: mesh.channel(broker).history(**asked),
            "list": lambda broker, **asked: mesh.channel(broker).dead_letters.list(**asked),
            "causes": lambda broker: causes_of(mesh.channel(broker).dead_letters),
            "get": lambda broker, letter: mesh.channel(broker).dead_letters.get(letter),
            "remove": lambda broker, ids: mesh.channel(broker).dead_letters.remove(ids),
        }
        if stories is not None:
            handlers |= {"stories_of": stories.of, "search_stories": stories.search}
        return handlers

    async def _hello(self) -> None:
        pass

    async def _stop(self) -> None:
        self._stopping.set()

    async def _break_off(self) -> None:
        self._hurry()

    async def _log(self, level: LogLevel) -> None:
        set_level(level)

    async def _consent(self, path: str, allowed_rate: bytes | None) -> str | None:
        return self._made.callbacks.take_here(path, allowed_rate)

    def _apply(self, desired: Desired) -> asyncio.Future[None]:
        applied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.put_nowait((desired, applied))
        return applied

    async def _status(self) -> MeshStatus:
        status = await self._mesh.status()
        return replace(status, elsewhere=self._made.metrics.counted())

    def _tail(self, broker: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._mesh.channel(broker).tail()

    async def _consent_elsewhere(self, path: str, allowed_rate: bytes | None) -> str | None:
        fault: str | None = await self._link.call("consent", path, allowed_rate)
        return fault


if __name__ == "__main__":
    main()
