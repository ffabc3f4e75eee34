"""What the chart has for others in the cluster, held to what these say of their kinds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from charts.values_docs import CHART
from tests.chart.definitions import established
from tests.chart.others import definitions
from tests.chart.rendering import RELEASE, Object, Refused
from tests.chart.surroundings import BESIDE, CLUSTER, beside, on_cluster
from tests.services.kubernetes.asking import Refused as NotTaken
from tests.services.kubernetes.client import Kubernetes
from tests.services.missing import Missing

PLURALS: Final = {"HorizontalPodAutoscaler": "horizontalpodautoscalers", "Ingress": "ingresses"}
"""Of Kubernetes' own kinds that the chart has only for others."""


@pytest.fixture(scope="module")
def plurals(kubernetes: Kubernetes) -> Mapping[str, str]:
    """Put others' definitions on the server, and return how their kinds are called in paths."""
    found = definitions()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    for each in found:
        kubernetes.apply(each)
    for each in found:
        established(kubernetes, each["metadata"]["name"])
    names = [each["spec"]["names"] for each in found]
    return {**PLURALS, **{each["kind"]: each["plural"] for each in names}}


def refusal(
    kubernetes: Kubernetes, plurals: Mapping[str, str], namespace: str, given: Object
) -> str | None:
    """Return why the server does not take the object, or None where it does."""
    path = f"/apis/{given['apiVersion']}/namespaces/{namespace}/{plurals[given['kind']]}"
    put = {**given, "metadata": {**given["metadata"], "namespace": namespace}}
    try:
        kubernetes.ask("POST", f"{path}?dryRun=All&fieldValidation=Strict", put)
    except NotTaken as refused:
        return str(refused)
    return None


@pytest.mark.parametrize("name", BESIDE)
def test_those_whose_kinds_they_are_take_every_object(
    kubernetes: Kubernetes, plurals: Mapping[str, str], helm: Path, name: str
) -> None:
    namespace = kubernetes.namespace()
    objects = [each for each in beside(helm, name).objects if each["kind"] in plurals]

    refused = [refusal(kubernetes, plurals, namespace, each) for each in objects]

    assert [each for each in refused if each] == []
    assert len(objects) == {"kafka": 8, "rabbitmq": 4}[name]


def test_a_field_that_is_none_of_theirs_is_told(
    kubernetes: Kubernetes, plurals: Mapping[str, str], helm: Path
) -> None:
    (scaled,) = beside(helm, "kafka").all("ScaledObject")
    scaled = {**scaled, "spec": {**scaled["spec"], "minReplicas": 0}}

    told = refusal(kubernetes, plurals, kubernetes.namespace(), scaled)

    assert told is not None
    assert 'unknown field \\"spec.minReplicas\\"' in told


def test_a_release_with_all_of_them_is_installed(
    helm: Path, kubernetes: Kubernetes, plurals: Mapping[str, str], tmp_path: Path
) -> None:
    namespace = kubernetes.namespace()
    command = [str(helm), f"--kubeconfig={kubernetes.kubeconfig()}", "-n", namespace]
    values = ["--values", str(BESIDE["kafka"]), "--set", "monitoring.dashboards.namespace="]

    for arguments in (["install", RELEASE, str(CHART), *values], ["uninstall", RELEASE]):
        ended = subprocess.run(
            [*command, *arguments],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


def test_every_api_server_has_what_a_cluster_is_known_by(kubernetes: Kubernetes) -> None:
    groups = kubernetes.ask("GET", "/apis")["groups"]

    assert CLUSTER in [each["preferredVersion"]["groupVersion"] for each in groups]


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        (
            {"mode": "split", "channel__rabbitmq__host": "r", "keda__enabled": "true"},
            "keda.sh/v1alpha1/ScaledObject",
            "keda.enabled: this cluster has no keda.sh/v1alpha1/ScaledObject: install KEDA first",
        ),
        (
            {"monitoring__scrape__enabled": "true"},
            "monitoring.coreos.com/v1/PodMonitor",
            "this cluster has no monitoring.coreos.com/v1/PodMonitor: install Prometheus' operator",
        ),
        (
            {"monitoring__rules__enabled": "true"},
            "monitoring.coreos.com/v1/PrometheusRule",
            "monitoring.rules.enabled: this cluster has no monitoring.coreos.com/v1/PrometheusRule",
        ),
        (
            {"routes__httpRoute__enabled": "true", "routes__httpRoute__parentRefs[0]__name": "g"},
            "gateway.networking.k8s.io/v1/HTTPRoute",
            "HTTPRoute: install the Gateway API first",
        ),
    ],
)
def test_a_cluster_without_a_kind_is_told_whose_it_is(
    helm: Path, values: Mapping[str, str], kind: str, told: str
) -> None:
    with pytest.raises(Refused) as refused:
        on_cluster(helm, **values)

    assert told in str(refused.value)
    assert kind.rpartition("/")[2] in on_cluster(helm, kind, **values)
