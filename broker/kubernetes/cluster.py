"""Reads in a cluster what a mesh is to run, and follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self

from broker.errors import Problem
from broker.manifest import Loaded
from broker.settings import Settings
from broker.status import Operated
from broker.trigger import Desired


class Cluster:
    """The objects of a cluster, and the files beside them, while the context lasts.

    ``refuse`` returns what keeps a part of what is desired from running in this process.
    """

    is_of_many = True

    def __init__(
        self, settings: Settings, *, refuse: Callable[[Desired], Sequence[Problem]]
    ) -> None:
        self._settings = settings
        self._refuse = refuse

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def load(self) -> Loaded:
        """Return what the objects ask for, once all of them are known.

        Raises `InvalidManifest` with what is wrong in the files beside them.
        """
        raise NotImplementedError

    def changes(self) -> AsyncIterator[None]:
        """Yield each time that `load` would return something else than before."""
        raise NotImplementedError

    @asynccontextmanager
    async def told(self, mesh: Operated) -> AsyncIterator[None]:
        """Tell in the cluster how the objects fare that the mesh runs, while the context lasts."""
        yield
