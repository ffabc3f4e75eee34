"""The life of a mesh, from the files to the last settled claim."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Final

import uvloop

from broker.admin.app import admin
from broker.app.following import follow, tell
from broker.app.serving import listening, served, url
from broker.callbacks import Callbacks
from broker.errors import CemeshError, InvalidManifest
from broker.ingress import Door, ingress
from broker.manifest import Loaded, changes, load
from broker.mesh import Mesh
from broker.observe.logging import configure
from broker.observe.metrics import Metrics
from broker.ports import BackendOptions
from broker.settings import WHOLE, Part, Settings
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.mesh")

MAX_PENDING_BYTES: Final = 256 << 20
"""Request bodies that may be read or stored at once; beyond, the ingress answers 429.

More where the operator takes larger events than that leaves room for.
"""

_OPERATORS_LINGER: Final = timedelta(seconds=1)

_THINGS_MADE: Final = 5_000
"""More than what is gone again: it takes events that wait. To look through them takes 3 ms, through
ten times as many 30, in which nothing else is done.
"""

_SWITCHED_EVERY: Final = 0.0002
"""Seconds that a thread which stores events waits for the interpreter behind a busy event loop.

With Python's own 5 ms, at each of a commit's five calls, half of 2,000 events a second took 7 to
13 ms until they were delivered; with this 3 to 4.
"""

STOPPED, REFUSED, CANNOT_START = 0, 1, 3


def run(settings: Settings) -> int:
    """Run the mesh, or parts of it, until SIGINT or SIGTERM; return the process's exit code.

    0: stopped when asked to; 1: the manifests are refused; 3: it cannot start.
    """
    sys.setswitchinterval(_SWITCHED_EVERY)
    gc.disable()  # what is made at the start stays, and looking for garbage in it takes a fifth
    try:
        return _start(settings)
    finally:
        gc.enable()


def _start(settings: Settings) -> int:
    configure(settings.log_format, settings.log_level)
    changed = changes(settings.paths)  # before they are read, so that no change falls between
    try:
        loaded = load(settings.paths, resolve=settings.resolve)
    except InvalidManifest as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return REFUSED
    tell(loaded.warnings)
    try:
        uvloop.run(_run(settings, loaded, changed))
    except CemeshError as error:
        sys.stderr.write(f"cemesh cannot start: {error}\n")
        return CANNOT_START
    return STOPPED


async def _run(settings: Settings, loaded: Loaded, changed: AsyncIterator[None]) -> None:
    metrics = Metrics()
    callbacks = Callbacks() if Part.INGRESS in settings.parts else None
    mesh = Mesh(
        channel=settings.channel,
        options=BackendOptions(
            data_dir=str(settings.data_dir),
            retention_age=settings.retention_age,
            retention_bytes=settings.retention_bytes,
        ),
        drain_timeout=settings.drain_timeout,
        metrics=metrics,
        parts=settings.parts,
        network=settings.network,
        callbacks=callbacks,
    )
    stopping, closing = asyncio.Event(), asyncio.Event()
    door = Door(
        mesh.find,
        clients=mesh.clients,
        max_event_bytes=settings.max_event_bytes,
        max_pending_bytes=max(MAX_PENDING_BYTES, 2 * settings.max_event_bytes),
        on_refused=metrics.refused,
    )
    producers = ingress(door, callbacks=callbacks)
    operators = admin(mesh, metrics, closing)
    taking_events = [(settings.host, settings.port)] if Part.INGRESS in settings.parts else []
    async with AsyncExitStack() as running:
        hurry = running.enter_context(_signals(stopping))
        hurry.append(mesh.hurry)
        data_ports = [running.enter_context(listening(*each)) for each in taking_events]
        admin_port = running.enter_context(listening(settings.admin_host, settings.admin_port))
        await running.enter_async_context(mesh)
        await running.enter_async_context(served(operators, admin_port, linger=_OPERATORS_LINGER))
        running.callback(closing.set)
        await mesh.apply(loaded.desired)
        ports = [
            await running.enter_async_context(
                served(producers, each, linger=settings.drain_timeout, door=door)
            )
            for each in data_ports
        ]
        hurry += [port.break_off for port in ports]
        _welcome(settings, loaded.desired, [url(each) for each in data_ports], url(admin_port))
        _collect_rarely()
        await follow(settings, mesh, changed, stopping)
        _log.info("stopping", extra={"drain_timeout": str(settings.drain_timeout)})
        for port in ports:
            port.close()
        await mesh.drain()
    _log.info("stopped")


def _collect_rarely() -> None:
    """Look for garbage again, but not in what is there now, and not each time 700 things are made.

    What an event makes is gone with it. Under load, looking took a sixth of the processor's time.
    """
    gc.freeze()
    gc.set_threshold(_THINGS_MADE)
    gc.enable()


@contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[list[Callable[[], None]]]:
    """Turn the first SIGINT or SIGTERM into ``stopping``.

    Every further one calls what is in the list that this yields.
    """
    hurry: list[Callable[[], None]] = []

    def caught() -> None:
        if stopping.is_set():
            for call in hurry:
                call()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, caught)
    yield hurry
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


def _welcome(
    settings: Settings, desired: Desired, data_ports: Sequence[str], admin_port: str
) -> None:
    runs = [
        (Part.INGRESS, "broker", desired.brokers),
        (Part.DISPATCHER, "trigger", desired.triggers),
        (Part.SOURCES, "source", desired.sources),
    ]
    counts = ", ".join(
        f"{len(each)} {name}{'' if len(each) == 1 else 's'}"
        for part, name, each in runs
        if part in settings.parts
    )
    whole = settings.parts == WHOLE
    command = " ".join(["cemesh", *(part.value for part in settings.parts if not whole)])
    lines = [f"{command} runs {counts}"]
    lines += [f"  POST events to  {port}/{key}" for port in data_ports for key in desired.brokers]
    lines += [f"  admin port      {admin_port} (asks nobody who they are)"]
    if whole or settings.channel:
        lines += [f"  data            {settings.data}"]
    if Part.DISPATCHER in settings.parts:
        lines += [f"  delivers to     {_destinations(settings)}"]
    lines += ["  Ctrl-C stops it: what is under way is finished, what waits is kept"]
    sys.stderr.writelines(f"{line}\n" for line in lines)
    sys.stderr.flush()


def _destinations(settings: Settings) -> str:
    network = settings.network
    where = ["public addresses", *network.allowed]
    if network.loopback:
        where.append("this machine")
    told = " and ".join(filter(None, [", ".join(where[:-1]), where[-1]]))
    return f"{told}, through a proxy" if network.proxy else told
