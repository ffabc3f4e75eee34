"""Tells in the cluster how the objects fare that the mesh runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any, Final

from broker.connections.kubernetes.access import SERVICE_ACCOUNT, Access, text_in
from broker.connections.kubernetes.collections import Object
from broker.connections.kubernetes.kubeconfig import namespace_in
from broker.connections.kubernetes.refusals import Busy
from broker.errors import CemeshError, Problem
from broker.kubernetes.containers import KIND
from broker.kubernetes.fates import status_of
from broker.kubernetes.leases import Lease
from broker.kubernetes.pods import Pods
from broker.kubernetes.views import seen
from broker.kubernetes.writing import AT_MOST, Writer
from broker.manifest.kinds import is_sink, is_source
from broker.settings import WHOLE, KubernetesSettings, Part, Settings
from broker.status import Manifests, Operated

_log: Final = logging.getLogger("cemesh.kubernetes")

_EVERY: Final = 1.0
_SHARE: Final = 10
"""It rests so many times as long as it took to look at the mesh: a large one takes a while."""

_LONGEST_PAUSE: Final = 30.0

_AT_A_TIME: Final = 50
"""Statuses that are made before anything else has its turn."""


class Statuses:
    """Keeps the statuses of objects in the cluster, as long as it runs, and no other process does.

    ``objects`` are those of the kinds whose status the mesh writes, as they were seen last, by
    ``Kind namespace/name``, but for those that were changed since they were judged. ``problems``
    are what is wrong with each, and ``manifests`` what the mesh is to take up of the others: until
    it has, nothing is told, as that would be true of former generations.
    """

    def __init__(
        self,
        access: Access,
        settings: Settings,
        *,
        objects: Callable[[], Mapping[str, Object]],
        problems: Callable[[], Mapping[str, Sequence[Problem]]],
        manifests: Callable[[], Manifests | None],
        mesh: Operated,
    ) -> None:
        self._access = access
        self._parts = settings.parts
        self._ca_certs = settings.ca_certs
        self._kubernetes = settings.kubernetes or KubernetesSettings()
        self._objects = objects
        self._problems = problems
        self._manifests = manifests
        self._mesh = mesh
        self._settled: object = None

    async def run(self) -> None:
        """Keep them until cancelled. Raises `UpstreamUnavailable` where no namespace is ours."""
        namespace = await asyncio.to_thread(_namespace, self._kubernetes)
        name = self._kubernetes.lease or lease_name(self._parts)
        lease = Lease(self._access, namespace=namespace, name=name)
        await lease.while_held(self._tell)

    async def _tell(self) -> None:
        self._settled = None
        writer = Writer(self._access)
        if Part.SOURCES not in self._parts or KIND in self._kubernetes.left:
            await self._keep(writer, None)
            return
        namespaces = self._kubernetes.namespaces
        async with Pods(self._access, namespaces=namespaces, ca_certs=self._ca_certs) as pods:
            await self._keep(writer, pods)

    async def _keep(self, writer: Writer, pods: Pods | None) -> None:
        trouble: str | None = None
        pause = _EVERY
        while True:
            took = 0.0
            try:
                took = await self._round(writer, pods)
            except CemeshError as error:
                if trouble is None:
                    _log.warning("statuses not written", extra={"why": str(error)})
                trouble = str(error)
                pause = min(2 * pause, _LONGEST_PAUSE)
                pause = max(pause, error.seconds) if isinstance(error, Busy) else pause
            else:
                if trouble is not None:
                    _log.info("statuses written again")
                trouble, pause = None, _EVERY
            await asyncio.sleep(max(pause, took * _SHARE))

    async def _round(self, writer: Writer, pods: Pods | None) -> float:
        """Write what is new, and return how many seconds it took to see what that is."""
        clock = asyncio.get_running_loop().time
        began = clock()
        view = await seen(self._mesh, self._problems(), address=self._kubernetes.address)
        if view.manifests is not self._manifests():
            return clock() - began
        ours = {key: each for key, each in self._objects().items() if self._is_ours(each)}
        if pods is not None:
            sources = {key: each for key, each in ours.items() if each["kind"] == KIND}
            view = replace(view, deployments=await pods.keep(sources, view))
        grounds = (view.evidence, ours)
        if grounds == self._settled:  # which is quick: most of it is the very same
            return clock() - began
        writer.keep(ours)
        now = datetime.now(UTC)
        news = []

        def wanted(found: Object) -> Mapping[str, Any]:
            return status_of(found, view, now)

        left_alone = False
        for number, (subject, found) in enumerate(sorted(ours.items(), key=_rank)):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            if writer.leaves_alone(subject):
                left_alone = True
            elif writer.is_new(subject, found, wanted):
                news.append((subject, found))
        self._settled = None if news or left_alone else grounds
        took = clock() - began
        await writer.write(islice(news, AT_MOST), wanted)
        return took if len(news) <= AT_MOST else 0.0  # no rest while there is more to write

    def _is_ours(self, found: Object) -> bool:
        """Return whether these parts know how the object fares."""
        return (
            part_of(str(found["kind"])) in self._parts
            and "deletionTimestamp" not in found["metadata"]
        )


@cache
def part_of(kind: str) -> Part | None:
    """Return the part that tells of objects of that kind, None where there is nothing to tell."""
    if kind == "Broker":
        return Part.INGRESS
    if is_source(kind):
        return Part.SOURCES
    return Part.DISPATCHER if kind in ("Trigger", "DeliveryPolicy") or is_sink(kind) else None


def _rank(item: tuple[str, Object]) -> tuple[bool, str]:
    """Brokers come first: whoever sends events waits for these."""
    return item[1]["kind"] != "Broker", item[0]


def lease_name(parts: frozenset[Part]) -> str:
    """Return the name of the Lease that processes of these parts share."""
    return "-".join(["cemesh", *([] if parts == WHOLE else sorted(each.value for each in parts))])


def _namespace(settings: KubernetesSettings) -> str:
    """Return the namespace that this process is in. Reads a file; raises `UpstreamUnavailable`."""
    if settings.kubeconfig is not None:
        return namespace_in(settings.kubeconfig)
    return text_in(SERVICE_ACCOUNT / "namespace").strip()
