"""What every pod of the chart keeps to, and what it may do in the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import Shape
from tests.chart.rendering import SHAPES, Object, Rendered, rendered, template

QUANTITY = re.compile(r"(?P<number>[0-9]+)(?P<unit>Ki|Mi|Gi)")
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def octets(quantity: str) -> int:
    match = QUANTITY.fullmatch(quantity)
    assert match, quantity
    return int(match["number"]) * UNITS[match["unit"]]


def rules(release: Rendered, component: str) -> Iterator[Object]:
    """Yield the rules that a component's account is bound to."""
    account = release.templates()[component]["spec"]["serviceAccountName"]
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in release.all(kind):
            if account in [subject["name"] for subject in binding["subjects"]]:
                role = binding["roleRef"]
                (bound,) = (
                    each
                    for each in release.all(role["kind"])
                    if each["metadata"]["name"] == role["name"]
                    and each["metadata"].get("namespace") == binding["metadata"].get("namespace")
                )
                yield from bound["rules"]


def allowed(release: Rendered, component: str, group: str, resource: str) -> set[str]:
    """Return the verbs that it may use."""
    return {
        verb
        for rule in rules(release, component)
        if group in rule["apiGroups"] and resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("name", SHAPES)
def test_no_pod_may_more_than_it_has_to(shape: Shape, name: str) -> None:
    for _, pod in shape(name).pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10_000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", SHAPES)
def test_every_container_says_what_it_needs_and_ends_at(shape: Shape, name: str) -> None:
    for _, pod in shape(name).pods():
        for container in pod["containers"]:
            asked, limit = container["resources"]["requests"], container["resources"]["limits"]
            assert asked["cpu"]
            assert octets(asked["memory"]) <= octets(limit["memory"])


@pytest.mark.parametrize("name", SHAPES)
def test_no_image_is_whatever_is_newest(shape: Shape, name: str) -> None:
    for _, pod in shape(name).pods():
        for container in pod["containers"]:
            assert re.search(r"(:[0-9][^:/@]*|@sha256:[0-9a-f]{64})$", container["image"])


def test_an_image_comes_from_the_registry_of_the_site(shape: Shape) -> None:
    for _, pod in shape("everything").pods():
        (container,) = pod["containers"]
        assert container["image"].startswith("registry.example.com/mirrors/cemesh@sha256:0123")
        assert pod["imagePullSecrets"] == [{"name": "site"}, {"name": "cemesh"}]


@pytest.mark.parametrize("name", SHAPES)
def test_a_pod_has_a_token_where_it_reads_the_cluster_and_nowhere_else(
    shape: Shape, name: str
) -> None:
    for component, pod in shape(name).templates().items():
        reads = "CEMESH_KUBERNETES" in shape(name).environment(component)
        assert pod["spec"]["automountServiceAccountToken"] is reads
    for account in shape(name).all("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", SHAPES)
def test_no_secret_stands_in_a_pod_or_a_configmap(shape: Shape, name: str) -> None:
    telling = [
        each for each in shape(name).objects if each["kind"] not in {"Secret", "ServiceAccount"}
    ]

    assert "not-this-one" not in str(telling)


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes-namespaces", "everything"])
def test_rights_are_named_one_by_one(shape: Shape, name: str) -> None:
    release = shape(name)
    for kind in ("Role", "ClusterRole"):
        for role in release.all(kind):
            for rule in role["rules"]:
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    for component in release.templates():
        assert not allowed(release, component, "", "secrets") - {"get", "list", "watch"}
        assert not allowed(release, component, "", "configmaps") - {"get", "list", "watch"}
        assert not allowed(release, component, "", "pods") & {"create", "delete"}


def test_only_what_runs_sources_manages_deployments(shape: Shape) -> None:
    release = shape("everything")

    assert "create" in allowed(release, "sources", "apps", "deployments")
    assert "list" in allowed(release, "sources", "", "pods")
    for component in ("ingress", "dispatcher"):
        assert allowed(release, component, "apps", "deployments") == set()
        assert allowed(release, component, "", "pods") == set()


def test_each_part_writes_the_statuses_that_it_knows(shape: Shape) -> None:
    release = shape("everything")
    group, ours = "eventing.knative.dev", "sources.knative.dev"

    assert "patch" in allowed(release, "ingress", group, "brokers/status")
    assert "patch" in allowed(release, "dispatcher", group, "triggers/status")
    assert "patch" in allowed(release, "sources", ours, "pingsources/status")
    assert allowed(release, "ingress", group, "triggers/status") == set()
    assert allowed(release, "dispatcher", ours, "pingsources/status") == set()
    assert allowed(release, "sources", group, "brokers/status") == set()


def test_kinds_that_others_run_are_left_alone(shape: Shape) -> None:
    release = shape("kubernetes-namespaces")
    group = "sources.knative.dev"

    for component in release.templates():
        assert allowed(release, component, group, "kafkasources") == {"get", "list", "watch"}
        assert allowed(release, component, group, "pingsources") == set()
        assert allowed(release, component, group, "pingsources/status") == set()
        assert allowed(release, component, "apps", "deployments") == set()


def test_a_lease_is_held_in_the_release_s_namespace_alone(shape: Shape) -> None:
    release = shape("kubernetes-namespaces")
    roles = [
        role
        for role in [*release.all("Role"), *release.all("ClusterRole")]
        if any("leases" in rule["resources"] for rule in role["rules"])
    ]

    assert {role["metadata"]["namespace"] for role in roles} == {"mesh"}
    assert len(roles) == 3


def test_in_named_namespaces_there_is_no_right_over_the_cluster(shape: Shape) -> None:
    release = shape("kubernetes-namespaces")
    secrets = [rule for rule in rules(release, "dispatcher") if rule["resources"] == ["secrets"]]

    assert [*release.all("ClusterRole"), *release.all("ClusterRoleBinding")] == []
    assert {role["metadata"]["namespace"] for role in release.all("Role")} == {
        *("mesh", "shop", "ledger")
    }
    assert [rule["resourceNames"] for rule in secrets] == [["kafka-user", "clients"]] * 2


def test_what_is_given_beside_goes_before_what_the_chart_says(helm: Path, tmp_path: Path) -> None:
    variables = {
        "pod": {
            "extraEnv": [
                {"name": "CEMESH_LOG_LEVEL", "value": "error"},
                {"name": "A", "value": "b"},
            ]
        },
        "components": {"mesh": {"extraEnv": [{"name": "A", "value": "c"}]}},
        "commonLabels": {"app.kubernetes.io/component": "other", "app.kubernetes.io/name": "other"},
    }
    release = rendered(template(helm, variables, folder=tmp_path))
    names = [each["name"] for each in release.container("mesh")["env"]]

    assert len(set(names)) == len(names)
    assert release.environment("mesh")["CEMESH_LOG_LEVEL"]["value"] == "error"
    assert release.environment("mesh")["A"]["value"] == "c"
    assert release.templates()["mesh"]["metadata"]["labels"]["app.kubernetes.io/name"] == "cemesh"


@pytest.mark.parametrize("name", SHAPES)
def test_a_pod_has_longer_to_stop_than_what_is_under_way(shape: Shape, name: str) -> None:
    for component, pod in shape(name).templates().items():
        drain = shape(name).environment(component).get("CEMESH_DRAIN_TIMEOUT", {"value": "0s"})
        lifecycle = shape(name).container(component).get("lifecycle", {})
        before = lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["spec"]["terminationGracePeriodSeconds"] > before + int(drain["value"][:-1])


@pytest.mark.parametrize("name", SHAPES)
def test_a_service_leads_to_ports_of_pods_that_are_there(shape: Shape, name: str) -> None:
    release = shape(name)
    for service in release.all("Service"):
        chosen: list[dict[str, Any]] = [
            template["spec"]["containers"][0]
            for template in release.templates().values()
            if service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ]
        assert chosen
        for port in service["spec"]["ports"]:
            for container in chosen:
                assert port["targetPort"] in [each["name"] for each in container["ports"]]


@pytest.mark.parametrize("name", SHAPES)
def test_every_volume_that_is_mounted_is_there(shape: Shape, name: str) -> None:
    release = shape(name)
    claims = {
        claim["metadata"]["name"]
        for each in release.all("StatefulSet")
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    for _, pod in release.pods():
        volumes = {each["name"] for each in pod.get("volumes", [])} | claims
        for container in pod["containers"]:
            mounts = container.get("volumeMounts", [])
            assert {each["name"] for each in mounts} <= volumes
            assert len({each["mountPath"] for each in mounts}) == len(mounts)
            assert not [each for each in mounts if "subPath" in each], "it is never renewed"
