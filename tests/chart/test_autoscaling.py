"""How many pods there are, and who says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from broker.channels.kafka.names import GROUP, filled
from broker.channels.kafka.undone import group_of
from broker.channels.rabbitmq.names import broker_name, trigger_name
from tests.chart.rendering import Object, Refused, Rendered, rendered, template
from tests.chart.surroundings import BESIDE, beside

KAFKA = {"kafka": {"bootstrapServers": ["kafka:9092"]}}
RABBITMQ = {"rabbitmq": {"host": "rabbit"}}
BROKER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Broker",
    "metadata": {"name": "orders", "namespace": "shop"},
}
OWN = {"type": "cron", "metadata": {"timezone": "UTC"}}


def of(helm: Path, folder: Path, values: Mapping[str, Any]) -> Rendered:
    given = {"crds": {"install": False}, "mode": "split", **values}
    return rendered(template(helm, given, folder=folder))


def scaled(release: Rendered) -> Object:
    (found,) = release.all("ScaledObject")
    spec = found["spec"]
    assert isinstance(spec, dict)
    return spec


def watched(release: Rendered, type: str) -> list[Mapping[str, str]]:
    """Return the `metadata` of the triggers of that type."""
    return [each["metadata"] for each in scaled(release)["triggers"] if each["type"] == type]


def replicas(release: Rendered) -> Mapping[str, object]:
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"].get("replicas")
        for each in release.all("Deployment")
    }


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_what_is_kubernetes_own_is_as_kubernetes_has_it(
    helm: Path, name: str, version: str
) -> None:
    own = [
        each
        for each in beside(helm, name).objects
        if each["apiVersion"] in ("v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1")
    ]

    for each in own:
        kubernetes_validate.validate(each, version, strict=True)
    assert {"Ingress", "Deployment", "Service"} <= {each["kind"] for each in own}


def test_pods_are_counted_by_one_alone(helm: Path) -> None:
    assert replicas(beside(helm, "kafka")) == {"ingress": None, "dispatcher": None, "sources": 2}
    assert replicas(beside(helm, "rabbitmq")) == {"ingress": 2, "dispatcher": None, "sources": 2}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_scaled_is_there(helm: Path, name: str) -> None:
    release = beside(helm, name)
    there = {each["metadata"]["name"] for each in release.all("Deployment")}
    scalers = [*release.all("HorizontalPodAutoscaler"), *release.all("ScaledObject")]

    assert scalers
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scalers} <= there


def test_an_ingress_is_added_for_processor_time_unless_told_otherwise(
    helm: Path, tmp_path: Path
) -> None:
    release = of(helm, tmp_path, {"channel": KAFKA, "autoscaling": {"enabled": True}})

    ((metric,),) = (each["spec"]["metrics"] for each in release.all("HorizontalPodAutoscaler"))
    assert metric["resource"] == {
        "name": "cpu",
        "target": {"type": "AverageValue", "averageValue": "700m"},
    }


def test_brokers_on_kafka_are_those_of_the_manifests(helm: Path) -> None:
    found = watched(beside(helm, "kafka"), "kafka")

    assert [(each["consumerGroup"], each.get("topic")) for each in found] == [
        (filled(GROUP, "default/ledger"), "events-default.ledger"),
        (group_of(filled(GROUP, "default/ledger")), None),
        (filled(GROUP, "shop/orders"), "events-shop.orders"),
        (group_of(filled(GROUP, "shop/orders")), None),
    ]


def test_brokers_that_are_named_go_before_those_of_the_manifests(
    helm: Path, tmp_path: Path
) -> None:
    keda = {"enabled": True, "kafka": {"brokers": ["far/away"]}}
    release = of(helm, tmp_path, {"channel": KAFKA, "manifests": {"a.yaml": BROKER}, "keda": keda})

    (found,) = watched(release, "kafka")
    assert found["consumerGroup"] == filled(GROUP, "far/away")
    assert found["topic"] == "knative-broker-far-away"


def test_kafka_s_secret_is_read_as_a_broker_s_is(helm: Path) -> None:
    release = beside(helm, "kafka")
    (given,) = release.all("TriggerAuthentication")
    by_kafka = [each for each in scaled(release)["triggers"] if each["type"] == "kafka"]

    assert {each["parameter"]: each["key"] for each in given["spec"]["secretTargetRef"]} == {
        "username": "user",
        "password": "password",
        "ca": "ca.crt",
        "cert": "user.crt",
        "key": "user.key",
    }
    for each in by_kafka:
        assert each["authenticationRef"] == {"name": given["metadata"]["name"]}
        assert (each["metadata"]["sasl"], each["metadata"]["tls"]) == ("scram_sha512", "enable")


def test_rabbitmq_s_patterns_have_the_queues_of_whatever_waits(helm: Path) -> None:
    ready, undone = watched(beside(helm, "rabbitmq"), "rabbitmq")
    queues = {
        "taken": trigger_name("shop/orders", "shop/audit"),
        "in order": trigger_name("shop/orders", "far/away", "ordered"),
        "put off": broker_name("shop/orders", "wait-1024000ms"),
        "returned": broker_name("shop/orders", "returned"),
        "history": broker_name("shop/orders", "events"),
        "known": broker_name("shop/orders", "state"),
        "given up": broker_name("shop/orders", "dead-letters"),
    }

    def of_pattern(metadata: Mapping[str, str]) -> set[str]:
        return {name for name, queue in queues.items() if re.search(metadata["queueName"], queue)}

    assert of_pattern(ready) == {"taken", "in order"}
    assert of_pattern(undone) == {"taken", "in order", "put off", "returned"}
    assert (ready["excludeUnacknowledged"], undone["excludeUnacknowledged"]) == ("true", "false")


@pytest.mark.parametrize(
    ("channel", "types"), [(KAFKA, ["kafka"]), (RABBITMQ, ["rabbitmq"])], ids=["kafka", "rabbitmq"]
)
def test_with_one_dispatcher_at_least_nothing_has_to_start_it(
    helm: Path, tmp_path: Path, channel: object, types: list[str]
) -> None:
    values = {"channel": channel, "manifests": {"a.yaml": BROKER}, "keda": {"enabled": True}}
    spec = scaled(of(helm, tmp_path, values))

    assert spec["minReplicaCount"] == 1
    assert [each["type"] for each in spec["triggers"]] == types


def test_triggers_of_one_s_own_are_beside_the_chart_s(helm: Path, tmp_path: Path) -> None:
    keda = {"enabled": True, "triggers": [OWN]}
    by_url = {"channel": {"url": "kafka://kafka:9092"}, "keda": keda}
    by_host = {"channel": RABBITMQ, "keda": keda}

    assert scaled(of(helm, tmp_path, by_url))["triggers"] == [OWN]
    assert scaled(of(helm, tmp_path, by_host))["triggers"][1:] == [OWN]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mode": "single", "autoscaling": {"enabled": True}}, "autoscaling: mode: single is one"),
        ({"mode": "single", "keda": {"enabled": True}}, "keda: mode: single is one pod"),
        (
            {"channel": KAFKA, "autoscaling": {"enabled": True, "minReplicas": 11}},
            "autoscaling: minReplicas is more than maxReplicas",
        ),
        (
            {"channel": KAFKA, "autoscaling": {"enabled": True, "cpu": ""}},
            "autoscaling: give cpu, memory or both",
        ),
        (
            {"channel": KAFKA, "kubernetes": {"enabled": True}, "keda": {"enabled": True}},
            "keda: name the brokers in kafka.brokers, as NAMESPACE/NAME",
        ),
        (
            {
                "channel": KAFKA,
                "manifests": {"a.yaml": {**BROKER, "kind": "Trigger"}},
                "keda": {"enabled": True},
            },
            "keda: there is no Broker on Kafka in `manifests`",
        ),
        (
            {"channel": {"existingSecret": {"name": "channel"}}, "keda": {"enabled": True}},
            "keda: channel.url and channel.existingSecret do not tell what to look at",
        ),
        (
            {"channel": RABBITMQ, "keda": {"rabbitmq": {"managementUrl": "http://u:p@rabbit/"}}},
            "/keda/rabbitmq/managementUrl",
        ),
        ({"channel": KAFKA, "keda": {"kafka": {"brokers": ["orders"]}}}, "/keda/kafka/brokers/0"),
    ],
)
def test_values_that_cannot_scale_anything_are_refused(
    helm: Path, tmp_path: Path, values: Mapping[str, Any], told: str
) -> None:
    with pytest.raises(Refused) as refused:
        of(helm, tmp_path, values)

    assert told in str(refused.value)
