"""The chart on a real API server: what it takes, what pods may do, what stays over versions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.values_docs import CHART
from tests.chart.definitions import define, is_true, until
from tests.chart.pods import running
from tests.chart.rendering import RELEASE, SHAPES, Object, Rendered, rendered
from tests.services.kubernetes.asking import Refused
from tests.services.kubernetes.client import Kubernetes
from tests.services.mesh import HOST
from tests.services.subscribers import Subscriber

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
APPS = "apps/v1"
RBAC = "rbac.authorization.k8s.io/v1"

EVERYTHING = "{{.Release.Manifest}}{{range .Release.Hooks}}\n---\n{{.Manifest}}{{end}}"

pytestmark = pytest.mark.timeout(120)


class Installed:
    """A release in a namespace that takes no pod but those that PodSecurity calls restricted."""

    def __init__(self, helm: Path, kubernetes: Kubernetes, folder: Path) -> None:
        self.namespace = kubernetes.namespace(RESTRICTED)
        self.kubernetes = kubernetes
        self._folder = folder
        self._command = [str(helm), f"--kubeconfig={kubernetes.kubeconfig()}", "-n", self.namespace]

    def helm(self, *arguments: str | Path, values: Mapping[str, object] | None = None) -> str:
        """Run helm, with these values, and return what it prints."""
        file = self._folder / "values.json"
        file.write_text(json.dumps(values))
        given: list[str | Path] = [] if values is None else ["--values", file]
        ended = subprocess.run(
            [*self._command, *arguments, *given],
            env={**os.environ, "HOME": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def access(self, component: str) -> Mapping[str, str]:
        """Return the variable that lets a process be what a pod of the component is."""
        account = f"{self.namespace}/{RELEASE}-cemesh-{component}"
        config = self.kubernetes.kubeconfig(account)
        read = json.loads(config.read_text())
        for context in read["contexts"]:
            context["context"]["namespace"] = self.namespace
        config.write_text(json.dumps(read))
        return {"KUBECONFIG": str(config)}

    def objects(self) -> Rendered:
        """Return what is installed, with what runs only as a hook."""
        return rendered(self.helm("get", "all", RELEASE, "--template", EVERYTHING))

    def found(self, kind: str, name: str, api_version: str = "v1") -> Object:
        found = self.kubernetes.get(kind, name, self.namespace, api_version=api_version)
        assert found is not None, f"{kind} {name}"
        return found

    def may(self, component: str, verb: str, resource: str, **where: str) -> bool:
        """Return whether the account of a component may do that; ``where`` as RBAC says it."""
        account = f"system:serviceaccount:{self.namespace}:{RELEASE}-cemesh-{component}"
        group, _, plural = resource.rpartition("/")
        plural, _, subresource = plural.partition(":")
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
        review = self.kubernetes.create(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": account, "resourceAttributes": {**asked, **where}},
            }
        )
        return bool(review["status"]["allowed"])


@pytest.fixture
def installed(helm: Path, kubernetes: Kubernetes, tmp_path: Path) -> Iterator[Installed]:
    release = Installed(helm, kubernetes, tmp_path)
    yield release
    for kind in ("ClusterRoleBinding", "ClusterRole"):
        for each in kubernetes.list(kind, api_version=RBAC):
            name = each["metadata"]["name"]
            if name.startswith(release.namespace):
                kubernetes.delete(kind, name, api_version=RBAC)


def values_of(shape: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(SHAPES[shape].read_text())
    return read


def pod_of(template: Object, component: str) -> Object:
    """Return a pod as a controller makes it of the template, with the claim of a StatefulSet."""
    volumes = template["spec"]["volumes"]
    if "data" not in [each["name"] for each in volumes]:
        claim = {"claimName": f"data-{RELEASE}-cemesh-mesh-0"}
        volumes = [*volumes, {"name": "data", "persistentVolumeClaim": claim}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": f"pod-of-{component}"},
        "spec": {**template["spec"], "volumes": volumes},
    }


@pytest.mark.parametrize("name", ["single", "everything"])
def test_a_server_takes_every_object_and_lets_every_pod_in(installed: Installed, name: str) -> None:
    installed.helm("install", RELEASE, CHART, values=values_of(name))
    for priority in ("events", "events-first"):  # of `everything`
        installed.kubernetes.apply(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": priority},
                "value": 1,
            }
        )

    release = installed.objects()
    for component, template in release.templates().items():
        installed.kubernetes.create(pod_of(template, component), installed.namespace)
    for test in release.all("Pod"):
        installed.kubernetes.create(test, installed.namespace)


def test_a_pod_that_may_be_root_is_not_let_in(installed: Installed) -> None:
    values = {**values_of("bare"), "pod": {"securityContext": {"runAsNonRoot": False}}}
    release = rendered(installed.helm("template", RELEASE, CHART, values=values))
    pod = pod_of(release.templates()["mesh"], "mesh")

    with pytest.raises(Refused, match="violates PodSecurity"):
        installed.kubernetes.create(pod, installed.namespace)


def test_each_part_may_do_in_the_cluster_what_it_does_and_no_more(installed: Installed) -> None:
    values = {**values_of("split-kafka"), "kubernetes": {"enabled": True}}
    installed.helm("install", RELEASE, CHART, values=values)
    may = installed.may
    eventing, sources = "eventing.knative.dev", "sources.knative.dev"
    leases = "coordination.k8s.io/leases"

    for component in ("ingress", "dispatcher", "sources"):
        lease = f"{RELEASE}-cemesh-{component}"
        assert may(component, "watch", f"{eventing}/triggers")
        assert may(component, "get", "/secrets", namespace="shop", name="clients")
        assert may(component, "update", leases, namespace=installed.namespace, name=lease)
        assert may(component, "create", leases, namespace=installed.namespace)
        assert not may(component, "update", leases, namespace=installed.namespace, name="other")
        assert not may(component, "create", leases, namespace="shop")
        assert not may(component, "update", f"{eventing}/triggers")
        assert not may(component, "create", "/pods")
        assert not may(component, "update", "/secrets", namespace="shop", name="clients")
    assert may("ingress", "patch", f"{eventing}/brokers:status")
    assert may("dispatcher", "patch", f"{eventing}/triggers:status")
    assert may("sources", "patch", f"{sources}/pingsources:status")
    assert may("sources", "create", "apps/deployments", namespace="shop")
    assert not may("ingress", "patch", f"{eventing}/triggers:status")
    assert not may("dispatcher", "create", "apps/deployments", namespace="shop")


def test_in_two_namespaces_nothing_is_allowed_elsewhere(installed: Installed) -> None:
    shop, ledger = installed.kubernetes.namespace(), installed.kubernetes.namespace()
    kubernetes = {**values_of("kubernetes-namespaces")["kubernetes"], "namespaces": [shop, ledger]}
    values = {**values_of("kubernetes-namespaces"), "kubernetes": kubernetes}
    installed.helm("install", RELEASE, CHART, values=values)
    may, brokers = installed.may, "eventing.knative.dev/brokers"

    for namespace in (shop, ledger):
        assert may("ingress", "list", brokers, namespace=namespace)
        assert may("dispatcher", "watch", "/secrets", namespace=namespace, name="clients")
        assert not may("dispatcher", "watch", "/secrets", namespace=namespace, name="others")
        assert not may("dispatcher", "list", "/secrets", namespace=namespace)
    assert not may("ingress", "list", brokers)
    assert not may("ingress", "list", brokers, namespace=installed.namespace)


# --- versions ------------------------------------------------------------------------------


def next_version(folder: Path) -> Path:
    """Return a copy of the chart as a later version would be."""
    later = folder / "later" / "cemesh"
    shutil.copytree(CHART, later)
    chart = yaml.safe_load((later / "Chart.yaml").read_text())
    chart |= {"version": "9.8.7", "appVersion": "9.8.7"}
    (later / "Chart.yaml").write_text(json.dumps(chart))
    return later


def lasting(release: Installed, kind: str, name: str) -> Mapping[str, object]:
    """Return what of an object has to be the same over all versions."""
    api_version = APPS if kind in {"StatefulSet", "Deployment"} else "v1"
    found = release.found(kind, name, api_version)
    spec = found["spec"]
    kept = ("selector", "serviceName", "volumeClaimTemplates", "clusterIP", "clusterIPs")
    return {"uid": found["metadata"]["uid"], **{each: spec[each] for each in kept if each in spec}}


@pytest.mark.parametrize("name", ["single", "split-kafka"])
def test_a_release_is_upgraded_and_rolled_back_in_place(
    installed: Installed, tmp_path: Path, name: str
) -> None:
    values = values_of(name)
    changed: dict[str, Any] = {
        **values,
        "commonLabels": {"team": "events"},
        "commonAnnotations": {"example.com/owner": "events"},
        "options": {"logLevel": "debug"},
        "stories": {"size": "64MiB"},
        "components": {"ingress": {"replicas": 4}},
        "service": {"annotations": {"example.com/new": "yes"}},
    }
    installed.helm("install", RELEASE, CHART, values=values)
    release = installed.objects()
    objects = [
        (each["kind"], each["metadata"]["name"])
        for kind in ("Service", "StatefulSet", "Deployment")
        for each in release.all(kind)
    ]

    def lasts() -> Mapping[str, object]:
        return {str(each): lasting(installed, *each) for each in objects}

    def images() -> set[str]:
        pods = [
            installed.found(*each, APPS)["spec"]["template"]["spec"]
            for each in objects
            if each[0] != "Service"
        ]
        return {pod["containers"][0]["image"] for pod in pods}

    first = lasts()
    installed.helm("upgrade", RELEASE, next_version(tmp_path), values=changed)
    assert images() == {"cemesh:9.8.7"}
    assert lasts() == first
    installed.helm("rollback", RELEASE, "1")
    assert images() == {"cemesh:0.1.0"}
    assert lasts() == first


def test_a_larger_volume_is_refused_until_the_statefulset_is_out_of_the_way(
    installed: Installed,
) -> None:
    values = values_of("single")
    installed.helm("install", RELEASE, CHART, values=values)
    name = f"{RELEASE}-cemesh-mesh"
    before = lasting(installed, "StatefulSet", name)
    larger = {**values, "persistence": {"size": "20Gi"}}

    with pytest.raises(AssertionError, match="field is immutable"):
        installed.helm("upgrade", RELEASE, CHART, values=larger)
    assert lasting(installed, "StatefulSet", name) == before

    installed.kubernetes.delete("StatefulSet", name, installed.namespace, api_version=APPS)
    installed.helm("upgrade", RELEASE, CHART, values=larger)
    (claim,) = installed.found("StatefulSet", name, APPS)["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "20Gi"}
    assert claim["metadata"]["name"] == "data"  # the one that is there is taken again


# --- the mesh ------------------------------------------------------------------------------

BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: orders
  annotations:
    cemesh.dev/access: clients
    eventing.knative.dev/broker.class: Kafka
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: kafka}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kafka}
data: {default.topic.partitions: "1", default.topic.replication.factor: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: clients}
stringData: {shop: not-this-one}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: audit}
spec:
  broker: orders
  subscriber: {ref: {apiVersion: v1, kind: Service, name: audit}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: ledger}
spec:
  broker: orders
  subscriber: {ref: {apiVersion: v1, kind: Service, name: ledger}}
---
apiVersion: v1
kind: Service
metadata: {name: ledger}
spec: {ports: [{port: 80}]}
---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: tick}
spec:
  schedule: "* * * * * *"
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: orders}}
---
apiVersion: sources.knative.dev/v1
kind: ContainerSource
metadata: {name: heart}
spec:
  template: {spec: {containers: [{name: heart, image: heart:1}]}}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: orders}}
"""


async def test_what_the_chart_lets_the_parts_do_is_enough_for_their_work(
    installed: Installed, tmp_path: Path, kafka: str
) -> None:
    kubernetes = installed.kubernetes
    define(kubernetes)
    shop = kubernetes.namespace()
    kubernetes.apply(BROKER, shop)
    async with Subscriber() as subscriber, AsyncExitStack() as stack:
        values = {
            "crds": {"install": False},
            "mode": "split",
            "channel": {"kafka": {"bootstrapServers": [kafka]}},
            "kubernetes": {"enabled": True, "namespaces": [shop], "secrets": ["clients"]},
            "options": {
                "allowDestination": [HOST],
                "resolve": [f"Service/{shop}/audit={subscriber.url('/audit')}"],
            },
        }
        installed.helm("install", RELEASE, CHART, values=values)
        release = installed.objects()
        await running(stack, release, tmp_path, environment=installed.access)

        await asyncio.to_thread(
            until,
            lambda: [
                is_ready(kubernetes, shop, "eventing.knative.dev/v1", "Broker", "orders"),
                is_ready(kubernetes, shop, "eventing.knative.dev/v1", "Trigger", "audit"),
                is_ready(kubernetes, shop, "eventing.knative.dev/v1", "Trigger", "ledger"),
                is_ready(kubernetes, shop, "sources.knative.dev/v1", "PingSource", "tick"),
                bool(kubernetes.list("Deployment", shop, api_version=APPS)),
            ],
            all,
        )
        await subscriber.received_at("/audit", 1)
    broker = kubernetes.get("Broker", "orders", shop, api_version="eventing.knative.dev/v1")

    assert broker
    service = f"{RELEASE}-cemesh-ingress.{installed.namespace}.svc.cluster.local"
    assert broker["status"]["address"]["url"] == f"http://{service}/{shop}/orders"


def is_ready(
    kubernetes: Kubernetes, namespace: str, api_version: str, kind: str, name: str
) -> bool:
    found = kubernetes.get(kind, name, namespace, api_version=api_version)
    return found is not None and is_true(found, "Ready")
