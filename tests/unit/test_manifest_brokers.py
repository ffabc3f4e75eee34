"""The class of a broker chooses its channel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from broker.errors import Problem
from broker.manifest.brokers import Referred, broker
from broker.manifest.objects import Object, Place, objects_of
from broker.manifest.problems import Report
from broker.manifest.reading import read_object
from broker.manifest.shapes import BrokerObject, ConfigMapObject
from broker.manifest.yamltree import read_documents
from broker.trigger import Broker

CONFIG_MAP: Final = ConfigMapObject.model_validate(
    {"apiVersion": "v1", "kind": "ConfigMap", "data": {"bootstrap.servers": "kafka:9092"}}
)
REFERRED: Final = Referred(
    config_maps={"default/kafka": CONFIG_MAP}, secrets={}, channels={"kafka", "amqp", "sqlite"}
)


def read(kind_of_broker: str, spec: str = "{}", referred: Referred = REFERRED) -> tuple[
    Broker, list[Problem]
]:  # fmt: skip
    text = (
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: b\n"
        f"  annotations: {{eventing.knative.dev/broker.class: {kind_of_broker}}}\nspec: {spec}\n"
    )
    report = Report()
    (document,) = read_documents(Path("mesh.yaml"), text.encode(), report)
    found: Object
    (found,) = objects_of(document, report)
    place = Place(found, report)
    shape = read_object(BrokerObject, place)
    assert shape is not None
    return broker(shape, place, referred), [*report.errors, *report.warnings]


@pytest.mark.parametrize(
    ("kind_of_broker", "channel"),
    [
        ("MTChannelBasedBroker", None),
        ("Kafka", "kafka"),
        ("KafkaNamespaced", "kafka"),
        ("RabbitMQBroker", "amqp"),
    ],
)
def test_the_class_chooses_the_channel(kind_of_broker: str, channel: str | None) -> None:
    found, problems = read(kind_of_broker)

    assert found.channel == channel
    assert problems == []


def test_a_class_whose_channel_is_not_installed_is_refused() -> None:
    referred = Referred(config_maps={}, secrets={}, channels={"sqlite", "memory"})

    _, (problem,) = read("Kafka", referred=referred)

    assert problem.message == (
        "the class 'Kafka' needs a channel 'kafka', which is not installed; "
        "installed: memory, sqlite"
    )


def test_the_config_is_the_data_of_the_config_map() -> None:
    found, problems = read("Kafka", "{config: {apiVersion: v1, kind: ConfigMap, name: kafka}}")

    assert found.config == {"bootstrap.servers": "kafka:9092"}
    assert problems == []


@pytest.mark.parametrize("kind_of_broker", ["Kafka", "RabbitMQBroker"])
def test_a_config_map_that_is_not_there_is_refused(kind_of_broker: str) -> None:
    _, (problem,) = read(kind_of_broker, "{config: {apiVersion: v1, kind: ConfigMap, name: kafk}}")

    assert problem.severity == "error"
    assert "no ConfigMap 'default/kafk' in these files (did you mean" in problem.message


def test_a_rabbitmq_broker_config_is_passed_over_with_a_warning() -> None:
    spec = (
        "{config: {apiVersion: eventing.knative.dev/v1alpha1, kind: RabbitmqBrokerConfig, name: r}}"
    )

    found, (problem,) = read("RabbitMQBroker", spec)

    assert found.config == {}
    assert problem.severity == "warning"
