"""The life of a mesh, from the files to the last settled claim."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Final

import uvloop

from broker.admin.app import admin
from broker.app.applying import Applying
from broker.app.certificates import kept_fresh
from broker.app.following import Audited, Told, follow, unless
from broker.app.household import Household
from broker.app.making import Made, collect_rarely, hurried_interpreter, options
from broker.app.origins import Origin, origin_of
from broker.app.serving import listening, served, url
from broker.errors import CemeshError, InvalidManifest
from broker.manifest import Loaded
from broker.mesh.parts import processes
from broker.observe.audit import AuditLog
from broker.observe.logging import configure
from broker.settings import WHOLE, KubernetesSettings, Part, Settings, TlsFiles
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.mesh")

_OPERATORS_LINGER: Final = timedelta(seconds=1)

STOPPED, REFUSED, CANNOT_START = 0, 1, 3


def run(settings: Settings) -> int:
    """Run the mesh, or parts of it, until SIGINT or SIGTERM; return the process's exit code.

    0: stopped when asked to; 1: the manifests are refused; 3: it cannot start.
    """
    with hurried_interpreter():
        return _start(settings)


def _start(settings: Settings) -> int:
    configure(settings.log_format, settings.log_level)
    try:
        return uvloop.run(_run(settings))
    except CemeshError as error:
        sys.stderr.write(f"cemesh cannot start: {error}\n")
        return CANNOT_START


async def _run(settings: Settings) -> int:
    stopping = asyncio.Event()
    async with AsyncExitStack() as running:
        hurry = running.enter_context(_signals(stopping))
        origin = await running.enter_async_context(origin_of(settings))
        try:
            loaded = await unless(stopping, origin.load())
        except InvalidManifest as error:
            sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
            return REFUSED
        if loaded is not None:
            await _serve(settings, origin, loaded, stopping, hurry)
    return STOPPED


async def _serve(
    settings: Settings,
    origin: Origin,
    loaded: Loaded,
    stopping: asyncio.Event,
    hurry: list[Callable[[], None]],
) -> None:
    count = 1
    if settings.parts == WHOLE:
        count = processes(
            loaded.desired, settings.workers, channel=settings.channel, options=options(settings)
        )
    made = Made.of(settings, parts=settings.parts, processes=count)
    household = Household(made, settings, range(1, count))
    closing = asyncio.Event()
    audit = _audit_log(settings)
    audited = Audited(audit, loaded.objects)
    operators = admin(
        household.mesh,
        made.metrics,
        closing,
        door=made.door,
        stories=household.stories,
        audit=audit,
        set_log_level=household.set_log_level,
        known_clients_only=made.admin_tls is not None and made.admin_tls.demands,
    )
    taking_events = [(settings.host, settings.port)] if Part.INGRESS in settings.parts else []
    async with AsyncExitStack() as running:
        hurry.append(household.hurry)
        if made.traces is not None:
            running.push_async_callback(made.traces.close, settings.drain_timeout)
        data_ports = [running.enter_context(listening(*each)) for each in taking_events]
        admin_port = running.enter_context(listening(settings.admin_host, settings.admin_port))
        await running.enter_async_context(made.mesh)
        await running.enter_async_context(household)
        await running.enter_async_context(kept_fresh(made.renewed))
        await running.enter_async_context(
            served(operators, admin_port, linger=_OPERATORS_LINGER, tls=made.admin_tls)
        )
        running.callback(closing.set)
        applying, told = Applying(household.mesh, each=origin.is_of_many), Told()
        left_out = await applying.apply(loaded.desired)
        problems = (*loaded.problems, *left_out)
        household.mesh.manifests, household.mesh.problems = loaded.manifests, problems
        household.mesh.unfollowed = origin.unfollowed
        told.tell((*problems, *loaded.warnings))
        await running.enter_async_context(origin.told(household.mesh))
        if made.stories is not None:  # now that nobody else has the data directory
            await running.enter_async_context(made.stories)
        await audited.started()
        ports = [
            await running.enter_async_context(household.open(each, made.tls)) for each in data_ports
        ]
        hurry += [port.break_off for port in ports]
        _welcome(
            settings,
            loaded.desired,
            [url(each, tls=made.tls is not None) for each in data_ports],
            url(admin_port, tls=made.admin_tls is not None),
            processes=count,
        )
        collect_rarely()
        forget = made.metrics.keep_to
        await follow(
            origin,
            applying,
            stopping,
            audited,
            told=told,
            taken_up=forget,
            is_whole=not left_out,
        )
        _log.info("stopping", extra={"drain_timeout": str(settings.drain_timeout)})
        for port in ports:
            port.close()
        household.stop()
        await made.mesh.drain()
    _log.info("stopped")


def _audit_log(settings: Settings) -> AuditLog:
    """Return the audit log. Raises a `CemeshError` where nothing can be written to its file."""
    audit = AuditLog(settings.audit_log)
    try:
        audit.check()
    except OSError as error:
        raise CemeshError(
            f"cannot write the audit log {settings.audit_log}: {error.strerror}; "
            "choose another file (--audit-log), or let this user write it"
        ) from error
    return audit


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
    settings: Settings,
    desired: Desired,
    data_ports: Sequence[str],
    admin_port: str,
    *,
    processes: int,
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
    several = "" if processes == 1 else f" in {processes} processes"
    lines = [f"{command} runs {counts}{several}"]
    if processes > settings.workers:
        idle = processes - settings.workers
        lines += [f"  {idle} of them only deliver what is left of a run with more --workers"]
    if settings.kubernetes is not None:
        lines += [f"  objects         of {_cluster(settings.kubernetes)}"]
    lines += [f"  POST events to  {port}/{key}" for port in data_ports for key in desired.brokers]
    called = [each.path for each in desired.sources.values() if each.receives]
    lines += [f"  call sources at {port}{path}" for port in data_ports for path in called]
    lines += [f"  console         {admin_port}/"]
    lines += [f"  admin port      {admin_port} ({_asked(settings.admin_tls)})"]
    if whole or settings.channel:
        lines += [f"  data            {settings.data}"]
    if Part.DISPATCHER in settings.parts:
        lines += [f"  delivers to     {_destinations(settings)}"]
    lines += ["  Ctrl-C stops it: what is under way is finished, what waits is kept"]
    sys.stderr.writelines(f"{line}\n" for line in lines)
    sys.stderr.flush()


def _cluster(settings: KubernetesSettings) -> str:
    """Return whose objects are run."""
    if not settings.namespaces:
        return "the Kubernetes cluster"
    return f"the Kubernetes cluster, in {', '.join(settings.namespaces)}"


def _asked(tls: TlsFiles | None) -> str:
    """Return whom the admin port answers."""
    if tls is None or tls.client_ca is None:
        return "asks nobody who they are"
    return "asks for a certificate"


def _destinations(settings: Settings) -> str:
    network = settings.network
    where = ["public addresses", *network.allowed]
    if network.loopback:
        where.append("this machine")
    told = " and ".join(filter(None, [", ".join(where[:-1]), where[-1]]))
    return f"{told}, through a proxy" if network.proxy else told
