"""``cemesh run --kubernetes`` tells how objects fare: on a real API server, with few rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.connections.kubernetes.collections import Object
from tests.chart.definitions import define
from tests.contract.cluster_mesh import (
    ADDRESS,
    BROKERS,
    LEASE,
    SOURCES,
    condition,
    in_namespace,
    rules,
    truth,
    until,
)
from tests.services.kubernetes.client import Kubernetes
from tests.services.mesh import RunningMesh

pytestmark = pytest.mark.timeout(120)

_REFERRED = {
    "apiGroups": [""],
    "resources": ["configmaps", "secrets", "services"],
    "verbs": ["get", "list", "watch"],
}
_SINK = {"ref": {"apiVersion": BROKERS, "kind": "Broker", "name": "orders"}}
_CHAT = {"secretKeyRef": {"name": "chat", "key": "url"}}


def broker() -> Object:
    return _object(BROKERS, "Broker", "orders", {})


def trigger(name: str, subscriber: object) -> Object:
    return _object(BROKERS, "Trigger", name, {"broker": "orders", "subscriber": subscriber})


def container_source() -> Object:
    container = {"name": "beats", "image": "example.com/beats"}
    spec = {"sink": _SINK, "template": {"spec": {"containers": [container]}}}
    return _object(SOURCES, "ContainerSource", "beats", spec)


def sink() -> Object:
    spec = {"url": _CHAT, "preset": "slack", "text": "hi"}
    return _object("sinks.cemesh.dev/v1alpha1", "WebhookSink", "chat", spec)


def _object(api_version: str, kind: str, name: str, spec: object) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


async def test_each_object_says_what_became_of_it_and_says_the_same_after_a_restart(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    define(kubernetes)
    namespace = kubernetes.namespace()
    user = f"{namespace}/mesh"
    kubernetes.allow(user, [*rules(), _REFERRED], namespaces=[namespace])
    there = {"uri": "https://example.com/"}
    by_sink = {"ref": {"apiVersion": sink()["apiVersion"], "kind": "WebhookSink", "name": "chat"}}
    right, wrong = trigger("right", there), trigger("wrong", by_sink)
    for each in (broker(), right, wrong, sink(), container_source()):
        kubernetes.apply(each, namespace)

    def look(found: Object) -> Object | None:
        name = found["metadata"]["name"]
        return kubernetes.get(found["kind"], name, namespace, api_version=found["apiVersion"])

    async def told(found: Object, ready: str) -> Object | None:
        return await until(lambda: look(found), lambda found: truth(found) == ready)

    config = in_namespace(kubernetes.kubeconfig(user), namespace)
    arguments = [
        f"--kubernetes-namespace={namespace}",
        f"--kubernetes-address={ADDRESS}",
        f"--kubernetes-lease={LEASE}",
    ]
    environment = {"KUBECONFIG": str(config)}
    beside = "{apiVersion: v1, kind: ConfigMap, metadata: {name: nothing}}"
    mesh = RunningMesh(
        tmp_path, beside, arguments=["--kubernetes", *arguments], environment=environment
    )
    async with mesh:
        of_broker = await told(broker(), "True")
        before = await told(right, "True")
        of_wrong, of_sink = await told(wrong, "False"), await told(sink(), "False")
        await until(
            lambda: look(container_source()),
            lambda found: condition(found).get("reason") == "DeploymentUnavailable",
        )
        deployment = kubernetes.get(
            "Deployment", "beats-deployment", namespace, api_version="apps/v1"
        )
        assert await mesh.terminate() == 0
        kubernetes.apply(trigger("new", there), namespace)
        await mesh.start()
        await told(trigger("new", there), "True")

    assert look(right) == before
    assert of_broker is not None
    assert of_broker["status"]["address"]["url"] == f"{ADDRESS}/{namespace}/orders"
    assert f"no Secret '{namespace}/chat'" in condition(of_sink)["message"]
    assert condition(of_wrong)["reason"] == "SubscriberNotResolved"
    assert f"no Secret '{namespace}/chat'" in condition(of_wrong)["message"]
    assert deployment is not None
