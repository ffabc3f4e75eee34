"""Follows the objects of a Kubernetes cluster, and emits what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from broker.connections.kubernetes import api
from broker.connections.kubernetes.access import Access, in_cluster
from broker.connections.kubernetes.collections import Collection
from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.connections.kubernetes.metadata import meta_of
from broker.connections.kubernetes.refusals import Busy
from broker.errors import InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.manifest.filters import all_of
from broker.passing import pass_on
from broker.ports import Emitter, SourceContext
from sources.apiserver.following import Follower, Told
from sources.apiserver.objects import event_id, event_of
from sources.apiserver.places import Places
from sources.apiserver.spec import ApiServerSpec, Resource

_SAVES_EVERY: Final = 1.0
_LOOKS_FOR_NAMESPACES_EVERY: Final = 30.0

_Named = tuple[Resource, str, bool]
"""A resource, what its objects are called in paths, and whether they are in namespaces."""


class ApiServerSource:
    """Emits what becomes of the objects that its ``resources`` name.

    Its place moves once the events are durable: what was emitted after the last one that was kept
    comes again after a crash, with the same id.
    """

    Spec: ClassVar = ApiServerSpec
    api_versions: ClassVar = ("sources.knative.dev/v1",)
    alone: ClassVar = True  # two would both emit everything

    def __init__(self, spec: ApiServerSpec, context: SourceContext) -> None:
        self._spec = spec
        self._context = context
        self._filter = all_of(spec.filters)
        self._moved = asyncio.Event()
        self._not_watched: set[Collection] = set()

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where we cannot, or may not, read."""
        try:
            await self._run(emit)
        except ExceptionGroup as failed:
            away, rest = failed.split(UpstreamUnavailable)
            if away is None or rest is not None:
                raise
            first = next(_leaves(away))
            if isinstance(first, Busy):
                self._context.unhealthy(str(first))
                await asyncio.sleep(first.seconds)
            raise first from None

    async def _run(self, emit: Emitter) -> None:
        access = await asyncio.to_thread(self._access)
        server = str(access.url).rstrip("/")
        places = Places(server, await self._context.load())

        async def save() -> None:
            await self._context.save(places.json())

        async def tell(of: Collection, told: Sequence[Told]) -> None:
            await self._tell(of, told, server, emit)

        def follower(of: Collection) -> Follower:
            return Follower(
                access,
                of,
                places.of(of),
                owner=self._spec.owner,
                tell=tell,
                moved=self._moved.set,
                saved=save,
                watches=lambda: self._watches(of),
            )

        followed: dict[Collection, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            named = [
                (each, *await api.plural_of(access, each.api_version, each.kind))
                for each in self._spec.resources
            ]
            # It begins when the first are followed: what is kept is what is followed then.
            tasks.create_task(self._keep(places))
            while True:
                wanted = await self._wanted(access, named)
                for of in wanted - followed.keys():
                    self._not_watched.add(of)
                    followed[of] = tasks.create_task(follower(of).run())
                for of in followed.keys() - wanted:
                    followed[of].cancel()
                    await asyncio.wait([followed.pop(of)])
                    places.forget(of)
                    self._watches(of)
                await asyncio.sleep(_LOOKS_FOR_NAMESPACES_EVERY)

    def _access(self) -> Access:
        if self._spec.kubeconfig is None:
            return in_cluster()
        return by_kubeconfig(Path(self._spec.kubeconfig))

    async def _wanted(self, access: Access, named: Sequence[_Named]) -> AbstractSet[Collection]:
        """Return what is to be followed now: namespaces come and go, and so do their labels."""
        selector = self._spec.namespace_selector
        namespaces: Sequence[str | None] = [self._context.namespace]
        if selector is not None:
            namespaces = await _namespaces(access, selector.query) if selector.query else [None]
        return {
            _of(resource, plural, namespace)
            for resource, plural, is_namespaced in named
            for namespace in (namespaces if is_namespaced else [None])
        }

    def _watches(self, of: Collection) -> None:
        self._not_watched.discard(of)
        if not self._not_watched:
            self._context.healthy()

    async def _keep(self, places: Places) -> None:
        """Save how far all have come, not for each event, as it is one write for all of them."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._context.save(places.json())
            await asyncio.sleep(_SAVES_EVERY)

    # --- events ----------------------------------------------------------------------------

    async def _tell(self, of: Collection, told: Sequence[Told], server: str, emit: Emitter) -> None:
        events: list[tuple[Told, Event]] = []
        for fate, found in told:
            try:
                event = event_of(fate, found, of, server=server, mode=self._spec.mode)
            except InvalidEvent as error:
                await self._reject((fate, found), error)
                continue
            if self._filter.matches(event.attributes):
                events.append(((fate, found), event))
        await pass_on(events, emit, self._reject)

    async def _reject(self, told: Told, error: InvalidEvent) -> None:
        fate, found = told
        meta = meta_of(found)
        why = f"{fate} of {found['kind']} {meta.namespace}/{meta.name}: {error}"
        await self._context.reject(why, id=event_id(fate, meta), data=msgspec.json.encode(found))


async def _namespaces(access: Access, selector: str) -> Sequence[str]:
    labelled = Collection(
        api_version="v1", kind="Namespace", plural="namespaces", namespace=None, selector=selector
    )
    return [meta_of(each).name for each in await api.everything(access, labelled)]


def _of(resource: Resource, plural: str, namespace: str | None) -> Collection:
    return Collection(
        api_version=resource.api_version,
        kind=resource.kind,
        plural=plural,
        namespace=namespace,
        selector=resource.selector.query,
    )


def _leaves(group: BaseExceptionGroup[UpstreamUnavailable]) -> Iterator[UpstreamUnavailable]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
