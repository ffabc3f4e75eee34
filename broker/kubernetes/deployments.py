"""What a Deployment says: whose it is, and how it fares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from broker.connections.kubernetes.collections import Object
from broker.kubernetes.conditions import Condition
from broker.kubernetes.containers import KIND
from broker.kubernetes.sourcefates import DEPLOYED


def key_of(found: Object) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def owner_of(found: Object) -> Mapping[str, Any] | None:
    """Return which ContainerSource controls the object, by its name and uid."""
    for each in found["metadata"].get("ownerReferences") or ():
        if each.get("controller") and each.get("kind") == KIND:
            return {"name": each["name"], "uid": each["uid"]}
    return None


def put_over(found: Object, wanted: Object) -> Object:
    """Return the wanted object in place of that one; what others have noted on it stays."""
    meta, ours = found["metadata"], wanted["metadata"]
    merged = {name: {**(meta.get(name) or {}), **ours[name]} for name in ("labels", "annotations")}
    return {
        **wanted,
        "metadata": {**ours, **merged, "resourceVersion": meta["resourceVersion"]},
        # How many there are is an operator's to say, once it is there.
        "spec": {**wanted["spec"], "replicas": found["spec"].get("replicas", 1)},
    }


def _conditions(found: Object) -> Iterator[Mapping[str, Any]]:
    yield from (found.get("status") or {}).get("conditions") or ()


def deployed(deployment: Object) -> Condition:
    """Return what the Deployment's status says of it."""
    by_type = {each.get("type"): each for each in _conditions(deployment)}
    failure, available = by_type.get("ReplicaFailure", {}), by_type.get("Available", {})
    if available.get("status") == "True":
        return Condition(type=DEPLOYED)
    if failure.get("status") == "True":
        return not_deployed(failure.get("reason", ""), failure.get("message", ""))
    if available.get("status") == "False":
        return not_deployed(available.get("reason", ""), available.get("message", ""))
    name = deployment["metadata"]["name"]
    return unknown("DeploymentUnavailable", f"the Deployment '{name}' has no pod yet")


def not_deployed(reason: str, message: str) -> Condition:
    return Condition(type=DEPLOYED, status="False", reason=reason, message=message)


def unknown(reason: str, message: str) -> Condition:
    return Condition(type=DEPLOYED, status="Unknown", reason=reason, message=message)
