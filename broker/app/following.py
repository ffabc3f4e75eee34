"""Keeps the mesh in step with its manifests until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from broker.app.applying import Applying
from broker.app.origins import Origin
from broker.errors import CemeshError, InvalidManifest, Problem
from broker.observe.audit import AuditLog, Change
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.mesh")

T = TypeVar("T")

_RETRY: Final = timedelta(seconds=2)
"""How long until a good change that the mesh could not take up is tried again."""


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
    applying: Applying,
    stopping: asyncio.Event,
    audited: Audited,
    *,
    told: Told | None = None,
    taken_up: Callable[[Desired], None] = _unheard,
    is_whole: bool = True,
) -> None:
    """Apply every good change of the manifests; tell of every bad one, which changes nothing.

    What could not be applied is tried again, also where the mesh was not begun as a whole.
    ``told`` is what the log knows already, ``taken_up`` is called with what the mesh runs from
    then on.
    """
    told = told or Told()
    news, again, is_done = asyncio.Event(), False, is_whole

    async def watch() -> None:
        async for _ in origin.changes():
            news.set()

    async def wait_for_stop() -> None:
        await stopping.wait()
        news.set()

    def try_again() -> None:
        nonlocal again
        again = not news.is_set()
        news.set()

    # The mesh is changed here, by the task that entered it; the others only wake it.
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(watch()), tasks.create_task(wait_for_stop())]
        while True:
            # One at a time: else each change meanwhile would begin a row of tries of its own.
            later = None if is_done else _after(_RETRY, try_again)
            await news.wait()
            if later is not None:
                later.cancel()
            if stopping.is_set():
                break
            news.clear()
            is_another_try, again = again, False
            is_done = await _reload(
                origin, applying, audited, told, taken_up, stopping, is_another_try=is_another_try
            )
        for task in waiting:
            task.cancel()


def _after(pause: timedelta, call: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(pause.total_seconds(), call)


async def _reload(
    origin: Origin,
    applying: Applying,
    audited: Audited,
    told: Told,
    taken_up: Callable[[Desired], None],
    stopping: asyncio.Event,
    *,
    is_another_try: bool,
) -> bool:
    """Return whether nothing is left to be tried again."""
    mesh = applying.mesh
    try:
        loaded = await unless(stopping, origin.load())
        if loaded is None:
            return True
        left_out = await applying.apply(loaded.desired)
    except InvalidManifest as error:
        mesh.problems = error.problems
        Told().tell(error.problems)
        _log.error("change refused", extra={"problems": len(error.problems)})
        await audited.refused(len(error.problems))
        return True
    except CemeshError as error:
        mesh.problems = [Problem(file=None, line=None, message=str(error))]
        _log.error("change not taken up", extra={"why": str(error), "again_in": str(_RETRY)})
        await audited.failed(str(error))
        return False
    problems = (*loaded.problems, *left_out)
    mesh.manifests, mesh.problems = loaded.manifests, problems
    news = told.tell((*problems, *loaded.warnings))
    if is_another_try and left_out and not news:
        return False
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
    return not left_out


class Told:
    """What the log has been told of the manifests, so that it is told only once."""

    def __init__(self, problems: Sequence[Problem] = ()) -> None:
        self._problems = frozenset(problems)

    def tell(self, problems: Sequence[Problem]) -> bool:
        """Log each problem that is new, as serious as it is; return whether any is."""
        new = [problem for problem in problems if problem not in self._problems]
        for problem in new:
            level = logging.ERROR if problem.severity == "error" else logging.WARNING
            _log.log(level, "manifest", extra={"problem": str(problem)})
        self._problems = frozenset(problems)
        return bool(new)
