"""Runs ContainerSources as Deployments of the cluster: made, changed and deleted with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from broker.connections.kubernetes import api
from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.changing import CONFLICT, Changer, Resource
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.mirror import Mirror
from broker.connections.kubernetes.refusals import Refused
from broker.kubernetes.conditions import Condition
from broker.kubernetes.containers import HASH, KIND, OURS, broker_of, deployment_of
from broker.kubernetes.deployments import (
    deployed,
    key_of,
    not_deployed,
    owner_of,
    put_over,
    unknown,
)
from broker.kubernetes.views import View
from broker.tls import CaFile

_log: Final = logging.getLogger("cemesh.kubernetes")

_DEPLOYMENTS: Final = Resource(api_version="apps/v1", plural="deployments")
_LABELS: Final = ",".join(f"{name}={value}" for name, value in OURS.items())

_TRIES_AGAIN_AFTER: Final = 30.0
"""Seconds after which a Deployment is asked for again that the API server does not take."""


class Pods:
    """The Deployments of ContainerSources in these namespaces, in all where none is named.

    To be entered; then `keep` makes them what the sources ask for, each time that it is called.
    Where the mesh is reached by TLS, ``ca_certs`` are what their programs may trust.
    """

    def __init__(
        self, access: Access, *, namespaces: Sequence[str], ca_certs: CaFile | None = None
    ) -> None:
        self._access = access
        self._changer = Changer(access)
        self._ca_certs = ca_certs
        self._tasks = asyncio.TaskGroup()
        self._mirroring: list[asyncio.Task[None]] = []
        self._mirrors = [
            Mirror(access, _collection(each), changed=_ignore, fared=_ignore)
            for each in (namespaces or (None,))
        ]
        self._refused: dict[str, tuple[str, float, Condition]] = {}
        self._told: set[tuple[str, str]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._mirroring = [self._tasks.create_task(each.run()) for each in self._mirrors]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._mirroring:
            each.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def keep(self, sources: Mapping[str, Object], view: View) -> Mapping[str, Condition]:
        """Return how the Deployments of the sources fare, by ``Kind namespace/name``.

        One of a source that something is wrong with stays as it is. Raises `UpstreamUnavailable`.
        """
        trouble = next((each.trouble for each in self._mirrors if each.trouble), None)
        if not all(each.synced for each in self._mirrors):
            said = unknown("DeploymentsUnknown", str(trouble)) if trouble else None
            return {} if said is None else dict.fromkeys(sources, said)
        found = {key: each for mirror in self._mirrors for key, each in mirror.objects.items()}
        await self._remove_orphans(found, sources)
        told = {}
        for subject, source in sources.items():
            condition = await self._deployed(subject, source, found, view)
            if condition is not None:
                told[subject] = condition
        return told

    # --- those that are wanted ---------------------------------------------------------------

    async def _deployed(
        self, subject: str, source: Object, found: Mapping[str, Object], view: View
    ) -> Condition | None:
        broker = broker_of(source)
        if view.is_wrong(subject) or broker is None or broker not in view.brokers:
            return None
        url = view.broker_url(broker)
        if url is None:
            message = "where the mesh is reached is not known: start it with --kubernetes-address"
            return unknown("AddressUnknown", message)
        ca_certs = None if self._ca_certs is None else self._ca_certs.pem
        wanted = deployment_of(source, url, ca_certs)
        meta = wanted["metadata"]
        hash_ = meta["annotations"][HASH]
        former_hash, until, condition = self._refused.get(subject, ("", 0.0, None))
        if condition is not None and former_hash == hash_ and _clock() < until:
            return condition
        try:
            there = await self._made(wanted, found.get(f"{meta['namespace']}/{meta['name']}"))
        except Refused as refused:
            if _is_fault(refused):
                raise
            self._tell(subject, refused)
            condition = not_deployed("DeploymentRefused", str(refused))
            self._refused[subject] = hash_, _clock() + _TRIES_AGAIN_AFTER, condition
            return condition
        self._refused.pop(subject, None)
        if there is None:
            message = f"a Deployment '{meta['name']}' is there already, and is not this source's"
            return not_deployed("DeploymentNotOwned", message)
        return deployed(there)

    async def _made(self, wanted: Object, found: Object | None) -> Object | None:
        """Return the Deployment as it is now, None where one of its name is somebody else's."""
        meta = wanted["metadata"]
        if found is None:
            try:
                made = await self._changer.create(_DEPLOYMENTS, wanted)
            except Refused as refused:
                if refused.status != CONFLICT:
                    raise
                # It is ours, and we have yet to see it; or it is not.
                found = await self._changer.read(_DEPLOYMENTS, meta["namespace"], meta["name"])
            else:
                _log.info("deployment made", extra={"deployment": key_of(wanted)})
                return made
        if owner_of(found) != owner_of(wanted):
            return None
        if (found["metadata"].get("annotations") or {}).get(HASH) == meta["annotations"][HASH]:
            return found
        try:
            changed = await self._changer.replace(_DEPLOYMENTS, put_over(found, wanted))
        except Refused as refused:
            if refused.status != CONFLICT:
                raise
            return found  # what it is by now is seen in a moment
        _log.info("deployment changed", extra={"deployment": key_of(wanted)})
        return changed

    # --- those that are not ------------------------------------------------------------------

    async def _remove_orphans(
        self, found: Mapping[str, Object], sources: Mapping[str, Object]
    ) -> None:
        """Delete what belongs to sources that are gone, as a cluster does, but may do later."""
        known = {each["metadata"]["uid"] for each in sources.values()}
        for deployment in list(found.values()):
            owner = owner_of(deployment)
            if (
                owner is None
                or owner["uid"] in known
                or "deletionTimestamp" in deployment["metadata"]
            ):
                continue
            try:
                if await self._is_there(owner, deployment["metadata"]["namespace"]):
                    continue  # and was not seen, or is not this mesh's
                await self._changer.delete(_DEPLOYMENTS, deployment)
            except Refused as refused:
                if _is_fault(refused):
                    raise
                self._tell(f"Deployment {key_of(deployment)}", refused)
            else:
                _log.info("deployment deleted", extra={"deployment": key_of(deployment)})

    def _tell(self, subject: str, refused: Refused) -> None:
        if refused.status in (404, CONFLICT) or (subject, str(refused)) in self._told:
            return  # it is another by now, or gone
        self._told.add((subject, str(refused)))
        _log.warning("deployment refused", extra={"object": subject, "why": str(refused)})

    async def _is_there(self, owner: Mapping[str, Any], namespace: str) -> bool:
        """Return whether the source is there. Raises `Refused` also where there is no such kind.

        By a list: that something is not found, an API server says of objects and of kinds alike.
        """
        sources = Collection(
            api_version="sources.knative.dev/v1",
            kind=KIND,
            plural="containersources",
            namespace=namespace,
            name=str(owner["name"]),
        )
        found = await api.everything(self._access, sources)
        return any(each["metadata"]["uid"] == owner["uid"] for each in found)


def _is_fault(refused: Refused) -> bool:
    """Return whether that is no answer to what was asked."""
    return refused.status >= 500 or refused.status == 401


def _collection(namespace: str | None) -> Collection:
    return Collection(
        api_version=_DEPLOYMENTS.api_version,
        kind="Deployment",
        plural=_DEPLOYMENTS.plural,
        namespace=namespace,
        selector=_LABELS,
    )


def _ignore() -> None:
    """What is there is looked at again and again."""


def _clock() -> float:
    return asyncio.get_running_loop().time()
