"""Finds out which kinds of object the cluster has, and has those mirrored that the mesh runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from broker.connections.kubernetes import api
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.mirror import Mirror
from broker.errors import UpstreamUnavailable
from broker.kubernetes.mirrors import Mirrors
from broker.settings import KubernetesSettings

_log: Final = logging.getLogger("cemesh.kubernetes")

_LOOKS_EVERY: Final = 30.0
_LOOKS_AGAIN_AFTER: Final = 1.0
"""Seconds: for kinds that the cluster has not got, and where it could not be asked."""


class Kinds:
    """The kinds that a mesh runs, of which those are mirrored that the cluster serves.

    ``wanted`` are the apiVersions of each. Of one that is served once, objects stay known whatever
    the cluster says later: an API server that is starting knows no kinds but its own.
    """

    def __init__(
        self,
        mirrors: Mirrors,
        settings: KubernetesSettings,
        wanted: Mapping[str, Sequence[str]],
        *,
        fared: Callable[[], None],
    ) -> None:
        self.looked = False
        self.trouble: str | None = None
        self._mirrors = mirrors
        self._namespaces = settings.namespaces
        self._wanted = {kind: each for kind, each in wanted.items() if kind not in settings.left}
        self._fared = fared
        self._served: dict[str, list[Mirror]] = {}

    async def run(self) -> None:
        """Look for kinds that are not mirrored yet, until cancelled."""
        while True:
            pause = _LOOKS_EVERY
            try:
                await self._look()
            except UpstreamUnavailable as error:
                self._fares(str(error))
                pause = _LOOKS_AGAIN_AFTER
            await asyncio.sleep(pause)

    def mirrors(self) -> Iterator[Mirror]:
        for each in self._served.values():
            yield from each

    def awaited(self) -> Sequence[str] | None:
        """Return what it is, in words, that keeps all objects from being known; or None."""
        if not self.looked:
            return [] if self.trouble is None else [self.trouble]
        waits = [each for each in self.mirrors() if not each.synced]
        return [str(each.trouble) for each in waits if each.trouble] if waits else None

    def objects(self) -> Iterator[Object]:
        """Yield what counts of each object: of brokers when their triggers are known."""
        has_triggers = all(each.synced for each in self._served.get("Trigger", ()))
        for each in self.mirrors():
            if each.of.kind != "Broker" or has_triggers:
                yield from each.essences.values()

    def whole(self) -> Mapping[str, Object]:
        """Return the objects, their statuses and all, by ``Kind namespace/name``."""
        return {
            f"{mirror.of.kind} {key}": each
            for mirror in self.mirrors()
            for key, each in mirror.objects.items()
        }

    async def _look(self) -> None:
        missing = {kind: each for kind, each in self._wanted.items() if kind not in self._served}
        if not missing:
            return
        if not self.looked:
            await api.ready(self._mirrors.access)
        versions = dict.fromkeys(version for each in missing.values() for version in each)
        access = self._mirrors.access
        served = {version: await api.kinds_of(access, version) for version in versions}
        found = {
            kind: (version, *served[version][kind])
            for kind, wanted in missing.items()
            for version in reversed(wanted)  # of several, the first one stays
            if kind in served[version]
        }
        if "Broker" in {**self._served, **found} and "Trigger" in missing.keys() - found.keys():
            # Without them, what their triggers have yet to deliver would be taken from them.
            raise UpstreamUnavailable(
                "the API server has Brokers and no Triggers: is the CustomResourceDefinition "
                "triggers.eventing.knative.dev installed?"
            )
        for kind, named in found.items():
            self._mirror(kind, *named)
        if found:
            _log.info("kinds followed", extra={"kinds": ", ".join(found)})
        self.looked = True
        self._fares(None)

    def _mirror(self, kind: str, version: str, plural: str, is_namespaced: bool) -> None:  # noqa: FBT001 - as discovery has it
        namespaces: Sequence[str | None] = self._namespaces if is_namespaced else ()
        self._served[kind] = [
            self._mirrors.begin(
                Collection(api_version=version, kind=kind, plural=plural, namespace=each)
            )
            for each in namespaces or (None,)
        ]

    def _fares(self, trouble: str | None) -> None:
        if trouble is not None and self.looked and trouble != self.trouble:
            _log.info("kinds not looked for", extra={"why": trouble})
        self.trouble = trouble
        self._fared()
