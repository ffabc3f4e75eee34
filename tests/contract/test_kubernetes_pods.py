"""ContainerSources in a cluster: the Deployments that a real API server is given of them.

Nobody acts on these here: how a Deployment fares is what a test says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from broker.connections.kubernetes.collections import Object
from broker.kubernetes import pods, statuses
from tests.chart.definitions import define
from tests.contract.cluster_mesh import (
    ADDRESS,
    BROKERS,
    SOURCES,
    condition,
    rules,
    running,
    truth,
    until,
)
from tests.services.kubernetes.client import Kubernetes

APPS = "apps/v1"
BROKER = {"apiVersion": BROKERS, "kind": "Broker", "metadata": {"name": "orders"}, "spec": {}}
NAME = "beats-deployment"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "_EVERY", 0.05)
    monkeypatch.setattr(statuses, "_SHARE", 1)
    monkeypatch.setattr(pods, "_TRIES_AGAIN_AFTER", 0.2)


@pytest.fixture(scope="module", autouse=True)
def defined(kubernetes: Kubernetes) -> None:
    define(kubernetes)


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    name = kubernetes.namespace()
    kubernetes.apply(BROKER, name)
    return name


def source(image: str = "example.com/beats:1", **container: object) -> Object:
    sink = {"ref": {"apiVersion": BROKERS, "kind": "Broker", "name": "orders"}}
    return {
        "apiVersion": SOURCES,
        "kind": "ContainerSource",
        "metadata": {"name": "beats"},
        "spec": {
            "sink": sink,
            "ceOverrides": {"extensions": {"team": "storage"}},
            "template": {
                "metadata": {"labels": {"of": "them"}},
                "spec": {"containers": [{"name": "beats", "image": image, **container}]},
            },
        },
    }


def deployment(kubernetes: Kubernetes, namespace: str, name: str = NAME) -> Object | None:
    return kubernetes.get("Deployment", name, namespace, api_version=APPS)


def source_in(kubernetes: Kubernetes, namespace: str) -> Object | None:
    return kubernetes.get("ContainerSource", "beats", namespace, api_version=SOURCES)


async def deployed(kubernetes: Kubernetes, namespace: str, image: str = "") -> Object:
    found = await until(
        lambda: deployment(kubernetes, namespace),
        lambda found: found is not None and image in container_of(found)["image"],
    )
    assert found is not None
    return found


def container_of(found: Object) -> Mapping[str, Any]:
    [container] = found["spec"]["template"]["spec"]["containers"]
    return dict(container)


def env_of(found: Object) -> Mapping[str, str]:
    return {each["name"]: each["value"] for each in container_of(found)["env"]}


def fares(kubernetes: Kubernetes, namespace: str, *conditions: Mapping[str, str]) -> None:
    """Let the Deployment's status say that, as its controller would."""
    kubernetes.patch(
        "Deployment",
        NAME,
        namespace,
        {"status": {"conditions": list(conditions)}},
        api_version=APPS,
        subresource="status",
    )


async def test_a_source_is_a_deployment_that_belongs_to_it_and_knows_where_events_go(
    kubernetes: Kubernetes, namespace: str
) -> None:
    env = [{"name": "TO", "value": "$(K_SINK)"}, {"name": "K_SINK", "value": "http://elsewhere"}]
    async with running(kubernetes, namespace):
        [made] = kubernetes.apply(source(env=env), namespace)
        found = await deployed(kubernetes, namespace)

    assert found["spec"]["replicas"] == 1
    assert found["spec"]["selector"]["matchLabels"] == {
        "sources.knative.dev/source": "container-source-controller",
        "sources.knative.dev/containerSource": "beats",
    }
    assert found["spec"]["template"]["metadata"]["labels"]["of"] == "them"
    [owner] = found["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
    assert env_of(found) == {
        "NAMESPACE": namespace,
        "NAME": "beats",
        "K_SINK": f"{ADDRESS}/{namespace}/orders",
        "K_CE_OVERRIDES": json.dumps({"extensions": {"team": "storage"}}),
        "TO": "$(K_SINK)",
    }
    assert [each["name"] for each in container_of(found)["env"]][-1] == "TO"


async def test_a_source_is_ready_when_its_deployment_is_available(
    kubernetes: Kubernetes, namespace: str
) -> None:
    no_pod = {"type": "ReplicaFailure", "status": "True", "reason": "Forbidden", "message": "quota"}
    away = {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}
    there = {"type": "Available", "status": "True"}

    def look() -> Object | None:
        return source_in(kubernetes, namespace)

    async with running(kubernetes, namespace):
        kubernetes.apply(source(), namespace)
        made = await until(look, lambda found: truth(found) == "Unknown")
        await deployed(kubernetes, namespace)
        fares(kubernetes, namespace, away)
        down = await until(look, lambda found: truth(found) == "False")
        fares(kubernetes, namespace, away, no_pod)
        await until(look, lambda found: condition(found).get("message") == "quota")
        fares(kubernetes, namespace, there)
        up = await until(look, lambda found: truth(found) == "True")

    assert truth(made, "Deployed") == "Unknown"
    assert condition(down, "Deployed")["reason"] == "MinimumReplicasUnavailable"
    assert up is not None
    assert up["status"]["sinkUri"] == f"{ADDRESS}/{namespace}/orders"


async def test_a_deployment_changes_with_its_source_and_else_not(
    kubernetes: Kubernetes, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cemesh.kubernetes")
    kubernetes.apply(source(args=["--fast"]), namespace)
    async with running(kubernetes, namespace):
        first = await deployed(kubernetes, namespace)
        fares(kubernetes, namespace, {"type": "Available", "status": "True"})
        await until(lambda: source_in(kubernetes, namespace), lambda found: truth(found) == "True")
        before = deployment(kubernetes, namespace)
    async with running(kubernetes, namespace):
        kubernetes.patch("Deployment", NAME, namespace, {"spec": {"replicas": 0}}, api_version=APPS)
        kubernetes.apply(source("example.com/beats:2"), namespace)
        second = await deployed(kubernetes, namespace, "beats:2")
        # Which is there before who changed it has heard so.
        await until(lambda: "deployment changed" in caplog.messages, bool)

    assert before is not None
    assert before["metadata"]["generation"] == first["metadata"]["generation"] == 1
    assert container_of(first)["args"] == ["--fast"]
    assert "args" not in container_of(second)
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["spec"]["replicas"] == 0  # an operator's
    assert caplog.messages.count("deployment changed") == 1


async def test_a_deployment_goes_with_its_source(kubernetes: Kubernetes, namespace: str) -> None:
    kubernetes.apply(source(), namespace)
    async with running(kubernetes, namespace):
        await deployed(kubernetes, namespace)
        kubernetes.delete("ContainerSource", "beats", namespace, api_version=SOURCES)
        await until(lambda: deployment(kubernetes, namespace), lambda found: found is None)


async def test_a_source_that_went_while_nobody_looked_takes_its_deployment_along(
    kubernetes: Kubernetes, namespace: str
) -> None:
    kubernetes.apply(source(), namespace)
    async with running(kubernetes, namespace):
        former = await deployed(kubernetes, namespace)
    kubernetes.delete("ContainerSource", "beats", namespace, api_version=SOURCES)
    kubernetes.apply(source(), namespace)

    async with running(kubernetes, namespace):
        await until(
            lambda: deployment(kubernetes, namespace),
            lambda found: found and found["metadata"]["uid"] != former["metadata"]["uid"],
        )


async def test_a_source_without_a_broker_has_no_deployment(
    kubernetes: Kubernetes, namespace: str
) -> None:
    lost = source()
    lost["spec"]["sink"]["ref"]["name"] = "ordres"

    async with running(kubernetes, namespace):
        kubernetes.apply(lost, namespace)
        found = await until(
            lambda: source_in(kubernetes, namespace), lambda found: truth(found) == "False"
        )

    assert "no Broker 'ordres'" in condition(found, "SinkProvided")["message"]
    assert deployment(kubernetes, namespace) is None


async def test_a_deployment_of_somebody_else_is_left_alone(
    kubernetes: Kubernetes, namespace: str
) -> None:
    labels = {"app": "theirs"}
    theirs = {
        "apiVersion": APPS,
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "a", "image": "example.com/theirs"}]},
            },
        },
    }
    [before] = kubernetes.apply(theirs, namespace)

    async with running(kubernetes, namespace):
        kubernetes.apply(source(), namespace)
        found = await until(
            lambda: source_in(kubernetes, namespace), lambda found: truth(found) == "False"
        )

    assert condition(found, "Deployed")["reason"] == "DeploymentNotOwned"
    assert deployment(kubernetes, namespace) == before


async def test_a_template_that_the_server_does_not_take_is_told_of_until_it_does(
    kubernetes: Kubernetes, namespace: str
) -> None:
    async with running(kubernetes, namespace):
        kubernetes.apply(source(ports=[{"containerPort": -1}]), namespace)
        found = await until(
            lambda: source_in(kubernetes, namespace), lambda found: truth(found) == "False"
        )
        assert deployment(kubernetes, namespace) is None
        kubernetes.apply(source(), namespace)
        await deployed(kubernetes, namespace)

    said = condition(found, "Deployed")
    assert said["reason"] == "DeploymentRefused"
    assert "containerPort" in said["message"]


async def test_who_may_make_no_deployments_tells_the_rule_that_is_missing(
    kubernetes: Kubernetes, namespace: str
) -> None:
    allowed = rules(without="deployments")
    async with running(kubernetes, namespace, allowed=allowed):
        kubernetes.apply(source(), namespace)
        found = await until(
            lambda: source_in(kubernetes, namespace),
            lambda found: condition(found, "Deployed").get("reason") == "DeploymentsUnknown",
        )

    assert 'resources ["deployments"]' in condition(found, "Deployed")["message"]
