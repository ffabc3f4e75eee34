"""Reads in a cluster what a mesh is to run, and follows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

from broker.connections.kubernetes.collections import Object
from broker.connections.kubernetes.kubeconfig import access_by
from broker.errors import InvalidManifest, Problem, UpstreamUnavailable
from broker.kubernetes.containers import KIND as CONTAINER_SOURCE
from broker.kubernetes.kinds import Kinds
from broker.kubernetes.mirrors import Mirrors
from broker.kubernetes.referred import Referred
from broker.kubernetes.statuses import Statuses
from broker.manifest import Loaded, changes
from broker.manifest.destinations import Elsewhere
from broker.manifest.judging import Found, Judged, judge
from broker.manifest.kinds import kinds_of_clusters
from broker.manifest.needs import Need
from broker.settings import KubernetesSettings, Settings
from broker.status import Operated
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.kubernetes")

_STILL: Final = 0.2
_STILL_AT_MOST: Final = 1.0
"""Seconds that nothing has to happen until a change is told, and after which it is all the same."""

_TELLS_AGAIN_AFTER: Final = 30.0
_TELLS_EVERY: Final = 60.0
_LOOKS_EVERY: Final = 30.0
_ASKS_AGAIN_AFTER: Final = 1.0
_ANSWERS_WITHIN: Final = 10.0
"""Seconds that something new is waited for, when the mesh runs: it must not stand still for it."""

_ANSWERS_AT_FIRST: Final = 60.0
"""Seconds that it may keep a mesh from starting, where the API server answers all else."""


class Cluster:
    """The objects of a cluster, and the files beside them, while the context lasts.

    ``refuse`` returns what keeps a part of what is desired from running in this process.
    """

    is_of_many = True

    def __init__(
        self, settings: Settings, *, refuse: Callable[[Desired], Sequence[Problem]]
    ) -> None:
        self._settings = settings
        self._kubernetes = settings.kubernetes or KubernetesSettings()
        self._refuse = refuse
        self._stir = asyncio.Event()
        self._news = 0
        self._seen = 0
        self._judged: Judged | None = None
        self._known: Mapping[str, Object] = {}

    async def __aenter__(self) -> Self:
        self._access = await asyncio.to_thread(access_by, self._kubernetes.kubeconfig)
        wanted = await asyncio.to_thread(kinds_of_clusters)
        self._tasks = asyncio.TaskGroup()
        mirrors = Mirrors(self._access, self._tasks, changed=self._changed, fared=self._stir.set)
        self._mirrors = mirrors
        self._kinds = Kinds(mirrors, self._kubernetes, wanted, fared=self._stir.set)
        self._referred = Referred(mirrors, self._settings.cluster_domain)
        files = None
        if self._settings.paths:
            files = await asyncio.to_thread(changes, self._settings.paths)
        # A task of its own: what is raised within the context is not the group's to gather.
        self._work = asyncio.create_task(self._run(files))
        self._work.add_done_callback(lambda _: self._stir.set())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work

    def unfollowed(self) -> Sequence[str]:
        """Return why what is in the cluster cannot be followed now: nothing, where it can."""
        return self._mirrors.troubles

    async def load(self) -> Loaded:
        """Return what the objects ask for, once all of them are known.

        Raises `InvalidManifest` with what is wrong in the files beside them.
        """
        is_first = self._judged is None
        if is_first:
            await self._until_known(self._kinds.awaited)
        while True:
            self._seen = self._news
            known = {_subject(each): each for each in self._kinds.objects()}
            needs: set[Need] = set()
            judged: Judged | InvalidManifest
            try:
                judged = await self._judge(known, needs)
            except InvalidManifest as error:
                judged = error
            new = needs - self._referred.wanted
            if not new:
                break
            await self._look_up(new, is_first=is_first)
        if isinstance(judged, InvalidManifest):
            raise judged  # perhaps before it was known what is needed
        self._referred.keep(needs)
        self._judged, self._known = judged, known
        return judged.loaded

    async def changes(self) -> AsyncIterator[None]:
        """Yield each time that `load` would return something else than before."""
        clock = asyncio.get_running_loop().time
        while True:
            while self._news == self._seen:
                await self._wait(None)
            until = clock() + _STILL_AT_MOST
            while clock() < until:
                before = self._news
                await asyncio.sleep(_STILL)
                if self._news == before:
                    break
            self._seen = self._news
            yield

    @asynccontextmanager
    async def told(self, mesh: Operated) -> AsyncIterator[None]:
        """Tell in the cluster how the objects fare that the mesh runs, while the context lasts."""
        statuses = Statuses(
            self._access,
            self._settings,
            objects=self._objects,
            problems=lambda: {} if self._judged is None else self._judged.problems,
            manifests=lambda: None if self._judged is None else self._judged.loaded.manifests,
            mesh=mesh,
        )
        task = self._tasks.create_task(self._tell(statuses))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _tell(self, statuses: Statuses) -> None:
        while True:
            try:
                await statuses.run()
            except UpstreamUnavailable as error:
                _log.error("statuses not written", extra={"why": str(error)})
                return
            except Exception:  # noqa: BLE001 - a fault of ours is no reason to deliver nothing
                _log.exception("statuses failed")
            await asyncio.sleep(_TELLS_AGAIN_AFTER)

    # --- what is known ---------------------------------------------------------------------

    def _objects(self) -> Mapping[str, Object]:
        """Return the objects that are ours, as they are now, by ``Kind namespace/name``.

        What was changed since it was judged is none of them.
        """
        if self._judged is None:
            return {}
        now = {_subject(each): each for each in self._kinds.objects()}
        return {
            subject: each
            for subject, each in self._kinds.whole().items()
            if subject in self._judged.ours and now.get(subject) is self._known.get(subject)
        }

    async def _judge(self, known: Mapping[str, Object], needs: set[Need]) -> Judged:
        settings, kubernetes = self._settings, self._kubernetes
        found = Found(
            objects=[*known.values(), *self._referred.objects()],
            unknown=self._referred.unknown(),
            classes=kubernetes.classes,
            trusted=kubernetes.trust,
        )
        elsewhere = Elsewhere(
            resolve=settings.resolve,
            domain=settings.cluster_domain,
            look_up=self._referred.lookup(needs),
            left=kubernetes.left,
            deployed=(CONTAINER_SOURCE,),
        )
        return await asyncio.to_thread(
            judge,
            settings.paths,
            found,
            elsewhere=elsewhere,
            formerly={} if self._judged is None else self._judged.good,
            needs=needs,
            refuse=self._refuse,
        )

    async def _look_up(self, needs: set[Need], *, is_first: bool) -> None:
        """Return once this is known, or it was waited for long enough.

        One API that does not answer, which anybody can refer to, must not stop a whole mesh.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ANSWERS_AT_FIRST if is_first else _ANSWERS_WITHIN):
                    await self._referred.want(needs)
                    await self._until_known(self._referred.awaited, again=self._referred.want)
                    return
            if not is_first or not self._mirrors.troubles:
                return

    async def _until_known(
        self,
        awaited: Callable[[], Sequence[str] | None],
        *,
        again: Callable[[Sequence[Need]], Any] | None = None,
    ) -> None:
        """Return when nothing is awaited; log what is, once, and then every minute."""
        clock = asyncio.get_running_loop().time
        told: set[str] = set()
        tells_at = clock() + _TELLS_EVERY
        while (reasons := awaited()) is not None:
            if clock() >= tells_at:
                told.clear()
                tells_at = clock() + _TELLS_EVERY
            for why in dict.fromkeys(reasons):
                if why not in told:
                    told.add(why)
                    _log.warning("waiting for the cluster", extra={"why": why})
            await self._wait(_ASKS_AGAIN_AFTER)
            if again is not None:
                await again(())

    # --- what happens ----------------------------------------------------------------------

    async def _run(self, files: AsyncIterator[None] | None) -> None:
        async with self._tasks as tasks:
            tasks.create_task(self._kinds.run())
            tasks.create_task(self._look_again())
            if files is not None:
                tasks.create_task(self._watch(files))

    async def _watch(self, files: AsyncIterator[None]) -> None:
        async for _ in files:
            self._changed()

    async def _look_again(self) -> None:
        """Look for the kinds of what is referred to that were not there."""
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            if await self._referred.again():
                self._changed()

    def _changed(self) -> None:
        self._news += 1
        self._stir.set()

    async def _wait(self, within: float | None) -> None:
        """Return when something has happened, or after so many seconds."""
        if self._work.done():
            self._work.result()  # it never ends but by a fault
        self._stir.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._stir.wait()


def _subject(found: Object) -> str:
    meta = found["metadata"]
    return f"{found['kind']} {meta.get('namespace', '')}/{meta['name']}"
