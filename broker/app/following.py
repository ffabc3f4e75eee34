"""Keeps the mesh in step with its manifests until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from broker.app.origins import Origin
from broker.errors import CemeshError, InvalidManifest, Problem
from broker.observe.audit import AuditLog, Change
from broker.status import Manifests
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.mesh")

T = TypeVar("T")

_RETRY: Final = timedelta(seconds=2)
"""How long until a good change that the mesh could not take up is tried again."""


class Changeable(Protocol):
    """A mesh that can be changed; see `broker.mesh.Mesh`."""

    manifests: Manifests
    problems: Sequence[Problem]

    async def apply(self, desired: Desired) -> None: ...


class Audited:
    """Notes how the objects of the manifests change, which are these now."""

    def __init__(self, audit: AuditLog, objects: Mapping[str, object]) -> None:
        self._audit = audit
        self._objects = objects
        self._failed: str | None = None

    async def started(self) -> None:
        """Note with what the mesh has started."""
        detail = {"objects": list(self._objects)}
        await self._audit.note(Change(action="start", outcome="done", detail=detail, logged=False))

    async def taken_up(self, objects: Mapping[str, object]) -> None:
        """Note what is another object now, if anything is."""
        former, self._objects, self._failed = self._objects, objects, None
        detail = {
            "added": [each for each in objects if each not in former],
            "changed": [
                each for each in objects if each in former and objects[each] != former[each]
            ],
            "removed": [each for each in former if each not in objects],
        }
        if any(detail.values()):
            await self._audit.note(Change(action="manifests", outcome="done", detail=detail))

    async def refused(self, problems: int) -> None:
        self._failed = None
        detail = {"problems": problems}
        await self._audit.note(Change(action="manifests", outcome="refused", detail=detail))

    async def failed(self, why: str) -> None:
        """Note a change that could not be taken up: once, however often it is tried again."""
        if self._failed != why:
            self._failed = why
            detail = {"why": why}
            await self._audit.note(Change(action="manifests", outcome="failed", detail=detail))


def _unheard(_: Desired) -> None:
    pass


async def unless(stopping: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """Return what comes of the work, or None where it is to stop before, which breaks it off."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.wait([working, stopped])


async def follow(
    origin: Origin,
    mesh: Changeable,
    stopping: asyncio.Event,
    audited: Audited,
    *,
    taken_up: Callable[[Desired], None] = _unheard,
) -> None:
    """Apply every good change of the manifests; tell of every bad one, which changes nothing.

    ``taken_up`` is called with what the mesh runs from then on.
    """
    news = asyncio.Event()

    async def watch() -> None:
        async for _ in origin.changes():
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
            is_done = await _reload(origin, mesh, audited, taken_up)
            if not is_done:
                asyncio.get_running_loop().call_later(_RETRY.total_seconds(), news.set)
            await news.wait()
        for task in waiting:
            task.cancel()


async def _reload(
    origin: Origin, mesh: Changeable, audited: Audited, taken_up: Callable[[Desired], None]
) -> bool:
    """Return whether nothing is left to be tried again."""
    try:
        loaded = await origin.load()
        tell((*loaded.problems, *loaded.warnings))
        await mesh.apply(loaded.desired)
    except InvalidManifest as error:
        mesh.problems = error.problems
        tell(error.problems)
        _log.error("change refused", extra={"problems": len(error.problems)})
        await audited.refused(len(error.problems))
        return True
    except CemeshError as error:
        mesh.problems = [Problem(file=None, line=None, message=str(error))]
        _log.error("change not taken up", extra={"why": str(error), "again_in": str(_RETRY)})
        await audited.failed(str(error))
        return False
    mesh.manifests, mesh.problems = loaded.manifests, loaded.problems
    taken_up(loaded.desired)
    await audited.taken_up(loaded.objects)
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
