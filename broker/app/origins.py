"""Where the objects come from that a mesh runs: files, or a cluster and files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol, Self

from broker.app.making import options
from broker.kubernetes.cluster import Cluster
from broker.manifest import Loaded, changes, load
from broker.mesh.parts import refusal
from broker.settings import Settings
from broker.status import Operated


class Origin(Protocol):
    """To be entered before all else, and left after it.

    Where it ``is_of_many`` people, what one of them did wrong keeps nothing of the others' from
    running.
    """

    @property
    def is_of_many(self) -> bool: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def load(self) -> Loaded:
        """Return what is to run now. Raises `InvalidManifest`."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yield each time that `load` may return something else than it did."""
        ...

    def unfollowed(self) -> Sequence[str] | None:
        """Return why a cluster cannot be followed now: nothing where it can; None without one."""
        ...

    def told(self, mesh: Operated) -> AbstractAsyncContextManager[None]:
        """Tell where the objects are how the mesh that runs them fares, while entered."""
        ...


class Files:
    """Manifests in files, which are watched from now on."""

    is_of_many = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changes = changes(settings.paths)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def load(self) -> Loaded:
        settings = self._settings
        return await asyncio.to_thread(
            load, settings.paths, resolve=settings.resolve, domain=settings.cluster_domain
        )

    def changes(self) -> AsyncIterator[None]:
        return self._changes

    def unfollowed(self) -> None:
        return None

    def told(self, mesh: Operated) -> AbstractAsyncContextManager[None]:
        return nullcontext()


def origin_of(settings: Settings) -> Origin:
    """Return where the objects come from. Blocks, where those are files, until these are seen."""
    if settings.kubernetes is None:
        return Files(settings)
    refuse = refusal(settings.parts, channel=settings.channel, options=options(settings))
    return Cluster(settings, refuse=refuse)
