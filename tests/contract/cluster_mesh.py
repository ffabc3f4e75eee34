"""A mesh in this process that runs what is in a namespace of a cluster, and tells how it fares.

    async with running(kubernetes, namespace) as mesh:
        kubernetes.apply(BROKER, namespace)
        await until(lambda: kubernetes.get("Broker", …), lambda found: truth(found) == "True")

To the cluster it is a service account with the rights that the chart gives, and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from broker.app.applying import Applying
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.connections.kubernetes.mirror import Mirror, essence_of
from broker.errors import Problem
from broker.kubernetes.statuses import Statuses
from broker.manifest.destinations import Elsewhere
from broker.manifest.judging import Found, judge
from broker.mesh import Mesh
from broker.ports import BackendOptions
from broker.settings import WHOLE, KubernetesSettings, Part, Settings
from broker.status import Manifests
from tests.services.kubernetes.client import Kubernetes

ADDRESS: Final = "http://mesh-ingress.mesh.svc.cluster.local"
BROKERS: Final = "eventing.knative.dev/v1"
SOURCES: Final = "sources.knative.dev/v1"
SINKS: Final = "sinks.cemesh.dev/v1alpha1"
LEASE: Final = "mesh"

_WITHIN: Final = 30  # seconds
_KINDS: Final = yaml.safe_load(Path("charts/cemesh/files/kinds.yaml").read_text())
_MIRRORED: Final = {
    "Broker": (BROKERS, "brokers"),
    "Trigger": (BROKERS, "triggers"),
    "PingSource": (SOURCES, "pingsources"),
    "ContainerSource": (SOURCES, "containersources"),
    "LogSink": (SINKS, "logsinks"),
}
_OPTIONS: Final = BackendOptions(
    data_dir="", retention_age=timedelta(days=1), retention_bytes=1 << 26
)

T = TypeVar("T")


def rules(*, without: str = "") -> Sequence[Object]:
    """Return what the chart lets the whole mesh do, but for what is done with that resource."""
    given = [
        *_KINDS["rules"]["read"],
        *_KINDS["rules"]["status"],
        {
            "apiGroups": ["apps"],
            "resources": ["deployments"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        },
        {
            "apiGroups": ["sources.knative.dev"],
            "resources": ["containersources/finalizers"],
            "verbs": ["update"],
        },
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [LEASE],
            "verbs": ["get", "update", "patch"],
        },
    ]
    return [
        {**each, "resources": [name for name in each["resources"] if name != without]}
        for each in given
        if each["resources"] != [without]
    ]


class RunningMesh:
    """The objects of a namespace, and the ``mesh`` that runs them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh: Final = mesh
        self._mirrors: dict[str, Mirror] = {}
        self._judged: dict[str, Object] = {}
        self._good: Mapping[str, Any] = {}
        self._problems: Mapping[str, Sequence[Problem]] = {}
        self._manifests: Manifests | None = None
        self._applying = Applying(mesh, each=True)
        self._changed = asyncio.Event()

    def objects(self) -> Mapping[str, Object]:
        return {
            subject: each
            for subject, each in self._seen().items()
            if self._judged.get(subject) == essence_of(each)
        }

    def problems(self) -> Mapping[str, Sequence[Problem]]:
        return self._problems

    def manifests(self) -> Manifests | None:
        return self._manifests

    def _seen(self) -> Mapping[str, Object]:
        return {
            f"{kind} {key}": each
            for kind, mirror in self._mirrors.items()
            for key, each in mirror.objects.items()
        }

    async def follow(self, mirrors: Mapping[str, Mirror]) -> None:
        self._mirrors = dict(mirrors)
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not all(each.synced for each in mirrors.values()):
                continue
            seen = {subject: essence_of(each) for subject, each in self._seen().items()}
            judged = judge(
                [],
                Found(objects=list(seen.values())),
                elsewhere=Elsewhere(deployed=("ContainerSource",)),
                formerly=self._good,
                needs=set(),
            )
            self._judged, self._good, self._problems = seen, judged.good, judged.problems
            self._manifests = judged.loaded.manifests
            left_out = await self._applying.apply(judged.loaded.desired)
            self.mesh.problems = [*judged.loaded.problems, *left_out]
            self.mesh.manifests = judged.loaded.manifests

    def change(self) -> None:
        self._changed.set()


@asynccontextmanager
async def running(
    kubernetes: Kubernetes,
    namespace: str,
    *,
    kubeconfig: Path | None = None,
    parts: frozenset[Part] = WHOLE,
    allowed: Sequence[Object] | None = None,
) -> AsyncIterator[RunningMesh]:
    """Run a mesh on what is in the namespace, while the context lasts."""
    user = f"{namespace}/mesh"
    kubernetes.allow(user, rules() if allowed is None else allowed, namespaces=[namespace])
    access = by_kubeconfig(kubeconfig or kubernetes.kubeconfig(user))
    mesh = Mesh(channel="memory:", options=_OPTIONS, drain_timeout=timedelta(seconds=1))
    settings = Settings(
        paths=(),
        parts=parts,
        kubernetes=KubernetesSettings(
            namespaces=(namespace,),
            address=ADDRESS,
            lease=LEASE,
            kubeconfig=in_namespace(kubeconfig or kubernetes.kubeconfig(user), namespace),
        ),
    )
    tasks: list[asyncio.Task[None]] = []
    async with mesh, asyncio.TaskGroup() as group:
        run = RunningMesh(mesh)
        mirrors = {
            kind: Mirror(
                access,
                Collection(api_version=api_version, kind=kind, plural=plural, namespace=namespace),
                changed=run.change,
                fared=run.change,
            )
            for kind, (api_version, plural) in _MIRRORED.items()
        }
        statuses = Statuses(
            access,
            settings,
            objects=run.objects,
            problems=run.problems,
            manifests=run.manifests,
            mesh=mesh,
        )
        tasks += [group.create_task(each.run()) for each in mirrors.values()]
        tasks += [group.create_task(run.follow(mirrors)), group.create_task(statuses.run())]
        try:
            yield run
        finally:
            for each in tasks:
                each.cancel()


def in_namespace(kubeconfig: Path, namespace: str) -> Path:
    """Return the kubeconfig, whose context is in that namespace from now on."""
    config = yaml.safe_load(kubeconfig.read_text())
    for each in config["contexts"]:
        each["context"]["namespace"] = namespace
    kubeconfig.write_text(yaml.safe_dump(config))
    return kubeconfig


async def until(look: Callable[[], T], holds: Callable[[T], object]) -> T:
    """Return what is seen once that holds of it; looking blocks, and is done in a thread."""
    async with asyncio.timeout(_WITHIN) as deadline:
        while True:
            seen = await asyncio.to_thread(look)
            if holds(seen):
                return seen
            loop = asyncio.get_running_loop()
            assert loop.time() < (deadline.when() or 0) - 1, seen
            await asyncio.sleep(0.02)


def condition(found: Object | None, type: str = "Ready") -> Mapping[str, str]:
    """Return that condition of the object, or nothing."""
    conditions = ((found or {}).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == type), {})


def truth(found: Object | None, type: str = "Ready") -> str | None:
    return condition(found, type).get("status")
