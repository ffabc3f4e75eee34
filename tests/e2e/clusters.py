"""A namespace of a cluster whose mesh is sent events all the time, and what is waited for then."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from broker.admin.models import StatusDocument
from tests.chart.definitions import OF_KINDS
from tests.contract.cluster_mesh import (
    ADDRESS,
    BROKERS,
    SOURCES,
    in_namespace,
    rules,
    truth,
    until,
)
from tests.e2e.manifests import event, trigger
from tests.services.kubernetes.asking import Refused
from tests.services.kubernetes.client import Kubernetes
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber

PACE = 0.05
"""Seconds between two events of a sender."""

WITHIN = 60
"""Seconds: an API server that starts takes some of them, and the pauses between tries others."""

POLICIES = "cemesh.dev/v1alpha1"
TRIGGERS = "triggers.eventing.knative.dev"
UNUSED = "{apiVersion: v1, kind: ConfigMap, metadata: {name: nothing}}"
MORE = [
    {
        "apiGroups": [""],
        "resources": ["configmaps", "secrets", "services"],
        "verbs": ["get", "list", "watch"],
    },
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],  # each part has one of its own
        "verbs": ["get", "update", "patch"],
    },
]


class Senders:
    """Send events to a broker, each until it is accepted, while this is entered."""

    def __init__(self, ingress: RunningMesh, to: str) -> None:
        self.accepted: list[str] = []
        self._ingress = ingress
        self._to = to
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._send(name)) for name in "ab"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> set[str]:
        """Return what was accepted, once no more is sent."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return set(self.accepted)

    async def some_more(self) -> None:
        """Return once some more events were accepted."""
        before = len(self.accepted)
        await soon(lambda: len(self.accepted) >= before + 5)

    async def _send(self, name: str) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            while not await self._accepts(f"{name}-{number}"):
                await asyncio.sleep(PACE)
            self.accepted.append(f"{name}-{number}")
            await asyncio.sleep(PACE)

    async def _accepts(self, id: str) -> bool:
        try:
            return await self._ingress.send(self._to, event(id)) == 202
        except (OSError, http.client.HTTPException):
            return False


async def soon(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN):
        while not holds():
            await asyncio.sleep(0.05)


async def logs(mesh: RunningMesh, words: str, *, times: int = 1) -> None:
    """Return once the mesh has logged that so often."""
    try:
        await soon(lambda: mesh.output().count(words) >= times)
    except TimeoutError as late:
        late.add_note(f"not logged {times} times: {words}\n{mesh.output_end()}")
        raise


class Cluster:
    """The objects of a test's namespace, which a mesh may read and tell of, and no others."""

    def __init__(self, api: Kubernetes, subscriber: Subscriber, *, url: str | None = None) -> None:
        self.api = api
        self.namespace = api.namespace()
        self.to = f"{self.namespace}/default"
        self._subscriber = subscriber
        self._user = f"{self.namespace}/mesh"
        api.allow(self._user, [*rules(), *MORE], namespaces=[self.namespace])
        self._config = in_namespace(api.kubeconfig(self._user, url=url), self.namespace)

    def mesh(self, folder: Path, part: str, *arguments: str, **environment: str) -> RunningMesh:
        """Return a mesh, or that part of one, on the objects of the namespace."""
        return RunningMesh(
            folder / part,
            UNUSED,
            part=part,
            arguments=["--kubernetes", *arguments],
            environment={
                "KUBECONFIG": str(self._config),
                "CEMESH_KUBERNETES_NAMESPACE": self.namespace,
                "CEMESH_KUBERNETES_ADDRESS": ADDRESS,
                **environment,
            },
        )

    def tokens(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """Return what lets the token of the mesh expire, and what renews it."""
        file = self._config.with_suffix(".token")
        expired, good = self.api.expired_token(self._user), self.api.token(self._user)
        return lambda: file.write_text(expired), lambda: file.write_text(good)

    def apply(self, *objects: str) -> None:
        for each in objects:
            self.api.apply(each, self.namespace)

    def trigger(self, name: str, path: str | None = None, *, to: str = "default") -> str:
        """Return a trigger, whose events come at the path of its name, or at another one."""
        url = self._subscriber.url(path or f"/{name}")
        return trigger(name, url, broker=to, pauses=name != "held")

    def delete(self, kind: str, name: str, api_version: str = BROKERS) -> None:
        self.api.delete(kind, name, self.namespace, api_version=api_version)

    async def says(self, ready: str, kind: str, *names: str, api_version: str = BROKERS) -> None:
        """Return once the condition Ready of each of these is that."""
        for name in names:
            look = partial(self.api.get, kind, name, self.namespace, api_version=api_version)
            await until(look, lambda found: truth(found) == ready)

    def key(self, name: str) -> str:
        return f"{self.namespace}/{name}"

    def has_triggers(self) -> bool:
        """Return whether the API server serves them now."""
        try:
            self.api.list("Trigger", self.namespace, api_version=BROKERS)
        except Refused:
            return False
        return True

    def serves_triggers(self, *, served: bool) -> None:
        definition = self.api.get("CustomResourceDefinition", TRIGGERS, api_version=OF_KINDS)
        assert definition is not None
        versions = [{**each, "served": served} for each in definition["spec"]["versions"]]
        self.api.patch(
            "CustomResourceDefinition",
            TRIGGERS,
            None,
            {"spec": {"versions": versions}},
            api_version=OF_KINDS,
        )


def ping() -> str:
    ref = {"apiVersion": BROKERS, "kind": "Broker", "name": "default"}
    return json.dumps(
        {
            "apiVersion": SOURCES,
            "kind": "PingSource",
            "metadata": {"name": "tick"},
            "spec": {"schedule": "0 * * * *", "data": "tick", "sink": {"ref": ref}},
        }
    )


def ids(subscriber: Subscriber, *paths: str) -> set[str]:
    """Return what came at these paths."""
    return {str(each.header("ce-id")) for each in subscriber.received if each.path in paths}


async def all_came(subscriber: Subscriber, wanted: Collection[str], *paths: str) -> None:
    try:
        await soon(lambda: ids(subscriber, *paths) >= set(wanted))
    except TimeoutError as late:
        late.add_note(f"not at {paths}: {sorted(set(wanted) - ids(subscriber, *paths))}")
        raise


async def balanced(dispatcher: RunningMesh, *keys: str) -> None:
    """Return once nothing of these triggers waits, and all that they matched is accounted for."""

    def is_balanced(status: StatusDocument, key: str) -> bool:
        told = told_of(status, key)
        return told.matched > 0 and not told.waiting and not told.unaccounted

    await dispatcher.until(
        lambda status: all(is_balanced(status, key) for key in keys), within=WITHIN
    )


def runs(*names: str) -> Callable[[StatusDocument], bool]:
    """Return whether these triggers run, and no others."""
    return lambda status: (
        {each.name.rpartition("/")[2] for broker in status.brokers for each in broker.triggers}
        == {*names}
    )


@asynccontextmanager
async def all_running(*parts: RunningMesh) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(each) for each in parts))
        yield
