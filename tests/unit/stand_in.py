"""A mesh of memory for the tests of the admin port and of the commands that talk to it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from broker.admin.app import admin
from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.errors import Problem, UnknownBroker, UnknownTrigger
from broker.event import Event
from broker.filters import EVERYTHING
from broker.ingress import Door, Entrance
from broker.mesh.parked import meant
from broker.observe.audit import AuditLog
from broker.observe.logging import Level, set_level
from broker.observe.metrics import Metrics
from broker.ports import UNWATCHED, BackendOptions, Pause, Refusal, Watcher
from broker.ports.stories import Stories
from broker.settings import WHOLE, Part
from broker.status import (
    RUNNING,
    BrokerStatus,
    Manifests,
    MeshStatus,
    Order,
    Parked,
    Redriven,
    SourceStatus,
    TriggerState,
    TriggerStatus,
)
from broker.trigger import Access, Broker, Trigger

DEADLINE = 30.0
"""Seconds after which an effect that is waited for will not come."""

BROKER = "default/default"

MAX_EVENT_BYTES = 64 << 10


def event(id: str = "1", data: bytes | None = b'{"n": 1}', **attributes: str) -> Event:
    given = {"specversion": "1.0", "id": id, "source": "/test", "type": "com.example.test"}
    if data is not None:
        given["datacontenttype"] = "application/json"
    return Event.checked({**given, **attributes}, data)


def refusal(body: bytes = b"no") -> Refusal:
    return Refusal(
        destination="http://127.0.0.1:9/", reason="answered 500", status=500, body=body, attempts=3
    )


@dataclass(slots=True)
class StandIn:
    """An `Operated` over one broker, `BROKER`, on the memory channel."""

    backend: MemoryBackend
    mesh_channel: MemoryChannel
    reasons: Sequence[str] = ()
    sources: Sequence[SourceStatus] = ()
    problems: Sequence[Problem] = ()
    manifests: Manifests = field(default_factory=Manifests)
    running: Sequence[Trigger] = ()
    parts: frozenset[Part] = WHOLE
    state: TriggerState = RUNNING
    waits: Sequence[Parked] = ()
    orders: list[tuple[Order, Sequence[Parked]]] = field(default_factory=list)
    redriven_batches: list[Sequence[str]] = field(default_factory=list)
    broken: Exception | None = None
    clients: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    async def start(cls) -> Self:
        options = BackendOptions(
            data_dir="", retention_age=timedelta(days=1), retention_bytes=1 << 20
        )
        backend = MemoryBackend(options)
        return cls(backend, await backend.channel(BROKER, {}, {}))

    async def not_ready(self) -> Sequence[str]:
        return self.reasons

    async def status(self) -> MeshStatus:
        if self.broken is not None:
            raise self.broken
        books = await self.mesh_channel.books()
        triggers = [
            TriggerStatus(
                key=key,
                broker=BROKER,
                subscriber="http://127.0.0.1:9/",
                in_flight=0,
                books=each,
                state=self.state,
                parked=len(self.waits),
            )
            for key, each in books.items()
        ]
        broker = BrokerStatus(
            key=BROKER,
            channel="memory",
            accepted=await self.mesh_channel.accepted(),
            unavailable=self.backend.outage,
            triggers=triggers,
        )
        return MeshStatus(
            brokers=[broker],
            sources=self.sources,
            problems=self.problems,
            manifests=self.manifests,
            parts=self.parts,
        )

    def channel(self, broker: str) -> MemoryChannel:
        if broker != BROKER:
            raise UnknownBroker(f"there is no broker {broker}")
        return self.mesh_channel

    def triggers(self, broker: str) -> Sequence[Trigger]:
        self.channel(broker)
        return self.running

    async def pause(self, trigger: str, why: str) -> Pause:
        self.trigger(trigger)
        pause = Pause(why=why, since=datetime.now(UTC))
        await self.mesh_channel.pauses.put(trigger, pause)
        return pause

    async def resume(self, trigger: str) -> None:
        self.trigger(trigger)
        await self.mesh_channel.pauses.remove(trigger)

    async def parked(self, trigger: str) -> Sequence[Parked]:
        self.trigger(trigger)
        return self.waits

    async def order(
        self, trigger: str, order: Order, *, id: str | None, source: str | None
    ) -> Sequence[Parked]:
        found = meant(await self.parked(trigger), id=id, source=source)
        self.orders.append((order, found))
        return found

    def trigger(self, trigger: str) -> Trigger:
        for each in self.running:
            if each.key == trigger:
                return each
        raise UnknownTrigger(f"the mesh has no trigger {trigger}")

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        channel = self.channel(broker)
        self.redriven_batches.append(ids)
        redriven: list[str] = []
        kept: dict[str, str] = {}
        for each in ids:
            letter = await channel.dead_letters.get(each)
            if letter is None:
                kept[each] = "there is no such dead letter"
                continue
            await channel.append([letter.event], to=letter.trigger)
            await channel.dead_letters.remove([each])
            redriven.append(each)
        return Redriven(redriven=redriven, kept=kept)

    async def redrive_edited(self, broker: str, id: str, edited: Event) -> Redriven:
        channel = self.channel(broker)
        letter = await channel.dead_letters.get(id)
        if letter is None:
            return Redriven(redriven=[], kept={id: "there is no such dead letter"})
        await channel.append([edited], to=letter.trigger)
        await channel.dead_letters.remove([id])
        return Redriven(redriven=[id], kept={})

    def find(self, broker: str) -> Entrance | None:
        """Return the way into the broker, as the data port finds it."""
        if broker != BROKER:
            return None
        access = Access(bearer=self.clients) if self.clients else None
        return Entrance(broker=Broker(key=BROKER, access=access), emit=self.mesh_channel.append)

    async def bury(
        self, *events: Event, trigger: str = "default/audit", body: bytes = b"no"
    ) -> None:
        """Put the events into the dead-letter store, as given up by ``trigger``."""
        async with self.mesh_channel.subscribe(
            trigger, filter=EVERYTHING, window=len(events)
        ) as cursor:
            await self.mesh_channel.append(events, to=trigger)
            claims = cursor.claims()
            for _ in events:
                cursor.bury(await anext(claims), refusal(body))


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[int, uvicorn.Server]]:
    """Serve the application on a free port of loopback; yield the port and the server."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as group:
            # `serve` would take over the signals of the test process.
            serving = group.create_task(server._serve([listener]))
            yield listener.getsockname()[1], server
            server.should_exit = True
            await asyncio.wait_for(serving, DEADLINE)


async def _set_level(level: Level) -> None:
    set_level(level)


def application(
    mesh: StandIn,
    closing: asyncio.Event,
    *,
    audit_file: Path | None = None,
    stories: Stories | None = None,
    watch: Watcher = UNWATCHED,
) -> Starlette:
    """Return the admin port's application for that mesh."""
    metrics = Metrics()
    door = Door(
        mesh.find,
        clients=list,
        max_event_bytes=MAX_EVENT_BYTES,
        max_pending_bytes=2 * MAX_EVENT_BYTES,
        watch=watch,
    )
    return admin(
        mesh,
        metrics,
        closing,
        door=door,
        stories=stories,
        audit=AuditLog(audit_file),
        set_log_level=_set_level,
    )


@asynccontextmanager
async def admin_port(
    mesh: StandIn,
    *,
    audit_file: Path | None = None,
    stories: Stories | None = None,
    watch: Watcher = UNWATCHED,
) -> AsyncIterator[int]:
    closing = asyncio.Event()
    app = application(mesh, closing, audit_file=audit_file, stories=stories, watch=watch)
    async with served(app) as (port, _):
        try:
            yield port
        finally:
            closing.set()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request and return the answer."""

    def exchange() -> Answer:
        connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            read = response.read()
            lowered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lowered, read)
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Ran:
    code: int | None
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cemesh", *arguments]


async def cemesh(*arguments: str, stdin: bytes = b"") -> Ran:
    """Run the command in a process of its own and return how it ended."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), DEADLINE)
    return Ran(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def running(
    *arguments: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command in a process of its own while the context lasts.

    ``stdout`` is a file descriptor for what it prints, which is closed here.
    """
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    if stdout >= 0:
        os.close(stdout)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def nobody_reads() -> int:
    """Return the writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


async def line(stream: asyncio.StreamReader | None) -> str:
    """Return the next line that the process prints."""
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), DEADLINE)).decode()
