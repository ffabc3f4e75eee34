"""What every process of a mesh is made of, whether it is the only one or one of several."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from starlette.applications import Starlette

from broker.app.certificates import Authorities, PortCertificate, Renewed
from broker.callbacks import Callbacks
from broker.channels.shard import Upstream
from broker.ingress import Door, ingress
from broker.mesh import Mesh
from broker.mesh.resources import DEFAULT_CHANNEL
from broker.observe.metrics import Metrics
from broker.observe.stages import Stages
from broker.observe.stories import Journal, Keeping
from broker.observe.tracing import tracing_of
from broker.observe.watching import Watchers
from broker.ports import BackendOptions
from broker.settings import WHOLE, Part, Settings

if TYPE_CHECKING:
    from broker.observe.tracing.recorder import Recorder

MAX_PENDING_BYTES: Final = 256 << 20
"""Request bodies that may be read or stored at once; beyond, the ingress answers 429.

More where the operator takes larger events than that leaves room for.
"""

STORIES_ON_DISK, STORIES_IN_MEMORY = 256 << 20, 32 << 20
"""Bytes of stories, unless the operator says otherwise: of 2,500,000 and of 300,000 events."""

_THINGS_MADE: Final = 5_000
"""More than what is gone again: it takes events that wait. To look through them takes 3 ms, through
ten times as many 30, in which nothing else is done.
"""

_SWITCHED_EVERY: Final = 0.0002
"""Seconds that a thread which stores events waits for the interpreter behind a busy event loop.

With Python's own 5 ms, at each of a commit's five calls, half of 2,000 events a second took 7 to
13 ms until they were delivered; with this 3 to 4.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A mesh that does not run yet, and the ways into it."""

    mesh: Mesh
    metrics: Metrics
    traces: Recorder | None
    stories: Journal | None
    callbacks: Callbacks
    door: Door
    producers: Starlette
    tls: PortCertificate | None
    admin_tls: PortCertificate | None
    renewed: Sequence[Renewed]

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        parts: frozenset[Part],
        number: int = 0,
        processes: int = 1,
        upstream: Upstream | None = None,
    ) -> Self:
        """Return the one of that ``number`` among so many ``processes``.

        Raises a `CemeshError` where a certificate is of no use.
        """
        metrics, callbacks = Metrics(), Callbacks()
        traces = tracing_of(os.environ)
        kept = keeping(settings, processes)
        stories = None if kept is None else Journal(kept)
        others = [stories.recorder if stories else None, traces]
        watch = Watchers(metrics, Stages(), *filter(None, others))
        mesh = Mesh(
            channel=settings.channel,
            options=options(settings, number=number, processes=processes),
            drain_timeout=settings.drain_timeout,
            watch=watch,
            tracer=traces,
            parts=parts,
            network=settings.network,
            callbacks=callbacks if Part.INGRESS in parts else None,
            number=number,
            processes=processes,
            upstream=upstream,
        )
        door = Door(
            mesh.find,
            clients=mesh.clients,
            max_event_bytes=settings.max_event_bytes,
            max_pending_bytes=max(MAX_PENDING_BYTES, 2 * settings.max_event_bytes),
            watch=watch,
            tracer=traces,
        )
        tls = admin_tls = None
        if settings.tls is not None and Part.INGRESS in parts:
            tls = PortCertificate("data", settings.tls, metrics.expiring)
        if settings.admin_tls is not None and number == 0:
            admin_tls = PortCertificate("admin", settings.admin_tls, metrics.expiring)
        trusted = None if settings.ca_certs is None else Authorities(settings.ca_certs)
        return cls(
            mesh=mesh,
            metrics=metrics,
            traces=traces,
            stories=stories,
            callbacks=callbacks,
            door=door,
            producers=ingress(door, callbacks=callbacks, receiver=mesh.receiver),
            tls=tls,
            admin_tls=admin_tls,
            renewed=list(filter(None, (tls, admin_tls, trusted))),
        )


def options(settings: Settings, *, number: int = 0, processes: int = 1) -> BackendOptions:
    """Return what backends are told in the process of that ``number``."""
    return BackendOptions(
        data_dir=str(settings.data_dir),
        retention_age=settings.retention_age,
        retention_bytes=settings.retention_bytes // processes,
        shard=number,
    )


def keeping(settings: Settings, processes: int) -> Keeping | None:
    """Return how each of the processes keeps stories, None where they are not kept."""
    wanted = settings.stories
    is_embedded = settings.parts == WHOLE and settings.channel in (None, DEFAULT_CHANNEL)
    folder = wanted.folder or (settings.data_dir if is_embedded else None)
    usual = STORIES_IN_MEMORY if folder is None else STORIES_ON_DISK
    size = usual if wanted.size is None else wanted.size
    if not size:
        return None
    return Keeping(folder=folder, age=wanted.age, size=size // processes, sample=wanted.sample)


@contextmanager
def hurried_interpreter() -> Iterator[None]:
    """Let threads take turns as often as events need it, and look for garbage not at the start."""
    sys.setswitchinterval(_SWITCHED_EVERY)
    gc.disable()  # what is made at the start stays, and looking for garbage in it takes a fifth
    try:
        yield
    finally:
        gc.enable()


def collect_rarely() -> None:
    """Look for garbage again, but not in what is there now, and not each time 700 things are made.

    What an event makes is gone with it. Under load, looking took a sixth of the processor's time.
    """
    gc.freeze()
    gc.set_threshold(_THINGS_MADE)
    gc.enable()
