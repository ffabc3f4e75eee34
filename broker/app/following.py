"""Keeps the mesh in step with its files until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final, Protocol

from broker.errors import CemeshError, InvalidManifest, Problem
from broker.manifest import load
from broker.settings import Settings
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.mesh")

_RETRY: Final = timedelta(seconds=2)
"""How long until a good change that the mesh could not take up is tried again."""


class Changeable(Protocol):
    """A mesh that can be changed; see `broker.mesh.Mesh`."""

    problems: Sequence[Problem]

    async def apply(self, desired: Desired) -> None: ...


async def follow(
    settings: Settings, mesh: Changeable, changed: AsyncIterator[None], stopping: asyncio.Event
) -> None:
    """Apply every good change of the files; tell of every bad one, which changes nothing."""
    news = asyncio.Event()

    async def watch() -> None:
        async for _ in changed:
            news.set()

    async def wait_for_stop() -> None:
        await stopping.wait()
        news.set()

    # The mesh is changed here, by the task that entered it; the others only wake it.
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(watch()), tasks.create_task(wait_for_stop())]
        await news.wait()
        while not stopping.is_set():
            news.clear()
            taken_up = await _reload(settings, mesh)
            if not taken_up:
                asyncio.get_running_loop().call_later(_RETRY.total_seconds(), news.set)
            await news.wait()
        for task in waiting:
            task.cancel()


async def _reload(settings: Settings, mesh: Changeable) -> bool:
    """Return whether nothing is left to be tried again."""
    try:
        loaded = await asyncio.to_thread(load, settings.paths, resolve=settings.resolve)
        tell(loaded.warnings)
        await mesh.apply(loaded.desired)
    except InvalidManifest as error:
        mesh.problems = error.problems
        tell(error.problems)
        _log.error("change refused", extra={"problems": len(error.problems)})
        return True
    except CemeshError as error:
        mesh.problems = [Problem(file=None, line=None, message=str(error))]
        _log.error("change not taken up", extra={"why": str(error), "again_in": str(_RETRY)})
        return False
    mesh.problems = ()
    desired = loaded.desired
    _log.info(
        "change taken up",
        extra={
            "brokers": len(desired.brokers),
            "triggers": len(desired.triggers),
            "sources": len(desired.sources),
        },
    )
    return True


def tell(problems: Sequence[Problem]) -> None:
    """Log each problem, as serious as it is."""
    for problem in problems:
        level = logging.ERROR if problem.severity == "error" else logging.WARNING
        _log.log(level, "manifest", extra={"problem": str(problem)})
