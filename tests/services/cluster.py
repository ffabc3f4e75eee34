"""The objects of a Kubernetes cluster, what has happened to them, and who watches them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Object = dict[str, Any]

TYPES: Final[Mapping[str, Mapping[str, tuple[str, bool]]]] = {
    "/api/v1": {
        "configmaps": ("ConfigMap", True),
        "namespaces": ("Namespace", False),
        "nodes": ("Node", False),
        "pods": ("Pod", True),
        "pods/status": ("Pod", True),
    },
    "/apis/apps/v1": {"deployments": ("Deployment", True), "replicasets": ("ReplicaSet", True)},
}
PLACES: Final = {plural: root for root, types in TYPES.items() for plural in types}


@dataclass(eq=False, slots=True, kw_only=True)
class Watch:
    """A watch that is open. None is its end, in order."""

    plural: str
    namespace: str | None
    labels: Mapping[str, str]
    name: str | None = None
    lines: asyncio.Queue[Object | None] = field(default_factory=asyncio.Queue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    version: int
    type: str
    plural: str
    before: Object | None
    object: Object


class Cluster:
    """Objects, which are put and deleted, and the watches that are told of that."""

    def __init__(self) -> None:
        self.watches: set[Watch] = set()
        self.version = 100
        self.compacted = 0
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.history: list[Happened] = []

    def put(
        self,
        plural: str,
        name: str,
        *,
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        owners: Sequence[Object] = (),
        **content: object,
    ) -> Object:
        """Create the object, or replace it, and return it."""
        kind, is_namespaced = TYPES[PLACES[plural]][plural]
        key = (plural, namespace if is_namespaced else "", name)
        before = self.objects.get(key)
        meta: Object = {"name": name} | ({"namespace": namespace} if is_namespaced else {})
        meta["uid"] = before["metadata"]["uid"] if before else str(uuid.uuid4())
        meta["creationTimestamp"] = "2026-03-01T02:00:00Z"
        meta["resourceVersion"] = str(self._next())
        if labels:
            meta["labels"] = dict(labels)
        if owners:
            meta["ownerReferences"] = list(owners)
        api_version = PLACES[plural].removeprefix("/apis/").removeprefix("/api/")
        found = {"kind": kind, "apiVersion": api_version, "metadata": meta, **content}
        self.objects[key] = found
        self._happened("MODIFIED" if before else "ADDED", plural, before, found)
        return found

    def delete(self, plural: str, name: str, *, namespace: str = "default") -> Object:
        is_namespaced = TYPES[PLACES[plural]][plural][1]
        before = self.objects.pop((plural, namespace if is_namespaced else "", name))
        meta = {**before["metadata"], "resourceVersion": str(self._next())}
        self._happened("DELETED", plural, before, {**before, "metadata": meta})
        return before

    def compact(self) -> None:
        """Forget what has happened: nobody can go on from before, neither a list nor a watch."""
        self.compacted = self._next()
        self.history = []

    def end_watches(self) -> None:
        for each in self.watches:
            each.lines.put_nowait(None)

    def bookmark(self) -> str:
        """Tell all watches that nothing more has happened, and return up to which version."""
        version = str(self._next())
        line = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
        for each in self.watches:
            each.lines.put_nowait(line)
        return version

    def fail_watches(self, code: int, message: str) -> None:
        """Tell all watches of an error, and end them."""
        for each in self.watches:
            each.lines.put_nowait({"type": "ERROR", "object": status_of(code, message)})
            each.lines.put_nowait(None)

    def _next(self) -> int:
        self.version += 1
        return self.version

    def _happened(self, type: str, plural: str, before: Object | None, found: Object) -> None:
        happened = Happened(
            version=self.version, type=type, plural=plural, before=before, object=found
        )
        self.history.append(happened)
        for each in self.watches:
            tell(happened, each)


def tell(happened: Happened, watch: Watch) -> None:
    """Tell a watch what it is to know: what gets its labels comes, and what loses them goes."""
    namespace = happened.object["metadata"].get("namespace")
    if happened.plural != watch.plural or watch.namespace not in (None, namespace):
        return
    if watch.name not in (None, happened.object["metadata"]["name"]):
        return
    was = happened.before is not None and has(happened.before, watch.labels)
    is_now = happened.type != "DELETED" and has(happened.object, watch.labels)
    if was or is_now:
        told = "MODIFIED" if was and is_now else "ADDED" if is_now else "DELETED"
        watch.lines.put_nowait({"type": told, "object": happened.object})


def has(found: Object, labels: Mapping[str, str]) -> bool:
    mine: Mapping[str, str] = found["metadata"].get("labels", {})
    return labels.items() <= mine.items()


def status_of(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}
