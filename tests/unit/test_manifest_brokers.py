"""The class of a broker chooses its channel, its ConfigMap and a Secret say how to use it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
import trustme

import broker.channels.rabbitmq
from broker.errors import InvalidManifest, Problem
from broker.manifest import load
from broker.trigger import EXTERNAL_TOPIC, Broker

Read = Callable[..., tuple[Broker | None, list[Problem]]]

OF_KAFKA: Final = "spec: {config: {apiVersion: v1, kind: ConfigMap, name: kafka, namespace: infra}}"
CONFIG_MAP: Final = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kafka, namespace: infra}
data: {bootstrap.servers: "kafka:9092", auth.secret.ref.name: user}
"""
EXPIRED: Final = (
    trustme.CA()
    .issue_cert(
        "a", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 2, tzinfo=UTC)
    )
    .cert_chain_pems[0]
    .bytes()
)
SECRET: Final = """
---
apiVersion: v1
kind: Secret
metadata: {name: user, namespace: infra}
data: {protocol: U0FTTF9QTEFJTlRFWFQ=, user.p12: /w==}
stringData: {user: orders, password: sesame}
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a broker ``default/b`` of that class, and what else is in the file."""

    def read(
        kind_of_broker: str, rest: str = "", *, topic: str | None = None
    ) -> tuple[Broker | None, list[Problem]]:
        path = tmp_path / "mesh.yaml"
        noted = "" if topic is None else f", {EXTERNAL_TOPIC}: {topic}"
        path.write_text(
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: b\n"
            f"  annotations: {{eventing.knative.dev/broker.class: {kind_of_broker}{noted}}}\n{rest}"
        )
        try:
            loaded = load([path])
        except InvalidManifest as error:
            return None, list(error.problems)
        return loaded.desired.brokers["default/b"], list(loaded.warnings)

    return read


@pytest.mark.parametrize(
    ("kind_of_broker", "channel"),
    [
        ("MTChannelBasedBroker", None),
        ("Kafka", "kafka"),
        ("KafkaNamespaced", "kafka"),
        ("RabbitMQBroker", "amqp"),
    ],
)
def test_the_class_chooses_the_channel(
    read: Read, kind_of_broker: str, channel: str | None
) -> None:
    found, problems = read(kind_of_broker)

    assert found == Broker(key="default/b", channel=channel)
    assert problems == []


def test_a_class_whose_channel_is_not_installed_is_refused(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.plugins.channel_schemes", lambda: frozenset({"sqlite", "memory"}))

    _, (problem,) = read("Kafka")

    assert problem.message == (
        "the class 'Kafka' needs a channel 'kafka', which is not installed; "
        "installed: memory, sqlite"
    )


def test_a_class_whose_channel_cannot_be_imported_is_refused(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(broker.channels.rabbitmq, "RabbitmqBackend")
    monkeypatch.syspath_prepend(tmp_path)  # so that what is installed is found out anew

    _, (problem,) = read("RabbitMQBroker")

    assert problem.path == 'metadata.annotations["eventing.knative.dev/broker.class"]'
    assert "cannot be imported" in problem.message


def test_the_config_is_the_data_of_the_config_map_and_the_secret_that_of_its_secret(
    read: Read,
) -> None:
    found, problems = read("Kafka", OF_KAFKA + CONFIG_MAP + SECRET)

    assert problems == []
    assert found is not None
    assert found.config == {"bootstrap.servers": "kafka:9092", "auth.secret.ref.name": "user"}
    assert found.secret == {
        "protocol": "SASL_PLAINTEXT", "user": "orders", "password": "sesame", "user.p12": "\udcff",
    }  # fmt: skip
    assert "sesame" not in repr(found)


def test_the_config_map_can_name_the_namespace_of_the_secret(read: Read) -> None:
    config_map = CONFIG_MAP.replace("name: user}", "name: user, auth.secret.ref.namespace: safe}")
    elsewhere = SECRET.replace("namespace: infra", "namespace: safe")

    found, _ = read("Kafka", OF_KAFKA + config_map + elsewhere)
    _, (problem,) = read("Kafka", OF_KAFKA + config_map + SECRET)

    assert found is not None
    assert found.secret["user"] == "orders"
    assert problem.message.startswith("no Secret 'safe/user' in these files")


@pytest.mark.parametrize("kind_of_broker", ["Kafka", "RabbitMQBroker"])
def test_a_config_map_that_is_not_there_is_refused(read: Read, kind_of_broker: str) -> None:
    _, (problem,) = read(kind_of_broker, OF_KAFKA.replace("kafka", "kafk") + CONFIG_MAP + SECRET)

    assert problem.severity == "error"
    assert problem.path == "spec.config"
    assert "no ConfigMap 'infra/kafk' in these files (did you mean" in problem.message


@pytest.mark.parametrize("kind_of_broker", ["Kafka", "RabbitMQBroker"])
def test_a_secret_that_is_not_there_is_refused_where_it_is_named(
    read: Read, kind_of_broker: str
) -> None:
    config_map = CONFIG_MAP.replace('bootstrap.servers: "kafka:9092", ', "")

    _, (problem,) = read(kind_of_broker, OF_KAFKA + config_map)

    assert problem.severity == "error"
    assert (problem.subject, problem.path, problem.line) == (
        "ConfigMap infra/kafka", 'data["auth.secret.ref.name"]', 11,
    )  # fmt: skip
    assert problem.message == "no Secret 'infra/user' in these files"


def test_the_default_class_may_do_without_the_config_map_and_the_secret(read: Read) -> None:
    without_either, (no_config_map,) = read("MTChannelBasedBroker", OF_KAFKA)
    without_secret, (no_secret,) = read("MTChannelBasedBroker", OF_KAFKA + CONFIG_MAP)

    assert without_either is not None
    assert without_secret is not None
    assert without_secret.config["bootstrap.servers"] == "kafka:9092"
    assert (no_config_map.severity, no_secret.severity) == ("warning", "warning")


def test_the_default_class_is_given_the_secret_and_not_checked(read: Read) -> None:
    config_map = CONFIG_MAP.replace("kafka:9092", "kafka")

    found, problems = read("MTChannelBasedBroker", OF_KAFKA + config_map + SECRET)

    assert problems == []
    assert found is not None
    assert found.secret["password"] == "sesame"


def test_what_the_channel_finds_wrong_is_told_where_it_stands(read: Read) -> None:
    config_map = CONFIG_MAP.replace("kafka:9092", "kafka")
    secret = SECRET.replace("password: sesame", 'password: "sesame\\u200b"')
    secret = secret.replace("user: orders, ", "")

    _, problems = read("Kafka", OF_KAFKA + config_map + secret)

    assert [(each.subject, each.path, each.line) for each in problems] == [
        ("ConfigMap infra/kafka", 'data["bootstrap.servers"]', 11),
        ("Secret infra/user", "data.user", 17),
        ("Secret infra/user", "stringData.password", 18),
    ]
    assert "has U+200B (zero width space) at character 7" in problems[2].message


def test_what_cannot_be_read_is_not_called_missing_too(read: Read) -> None:
    config_map = CONFIG_MAP.partition("\ndata:")[0] + "\ndata: 5\n"
    secret = SECRET.replace("U0FT", "U0F!")

    _, of_config_map = read("Kafka", OF_KAFKA + config_map)
    _, of_secret = read("Kafka", OF_KAFKA + CONFIG_MAP + secret)

    assert [each.message for each in of_config_map] == ["must be a mapping"]
    assert [each.path for each in of_secret] == ["data.protocol"]
    assert "is not base64" in of_secret[0].message


def test_brokers_that_share_a_config_map_are_told_once_what_is_wrong_with_it(
    read: Read,
) -> None:
    other = (
        "\n---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: c, "
        "annotations: {eventing.knative.dev/broker.class: Kafka}}\n" + OF_KAFKA
    )
    expired = base64.b64encode(EXPIRED).decode()
    secret = SECRET.replace("U0FTTF9QTEFJTlRFWFQ=", f"U0FTTF9TU0w=, ca.crt: {expired}")

    _, errors = read("Kafka", OF_KAFKA + CONFIG_MAP.replace("9092", "x") + SECRET + other)
    _, warnings = read("Kafka", OF_KAFKA + CONFIG_MAP + secret + other)

    assert [each.path for each in errors] == ['data["bootstrap.servers"]']
    assert [(each.severity, each.path) for each in warnings] == [("warning", 'data["ca.crt"]')]


def test_an_external_topic_reaches_the_channel_as_configuration(read: Read) -> None:
    found, problems = read("Kafka", OF_KAFKA + CONFIG_MAP + SECRET, topic="orders")
    alone, _ = read("KafkaNamespaced", topic="orders")

    assert problems == []
    assert found is not None
    assert alone is not None
    assert found.config == {
        "bootstrap.servers": "kafka:9092", "auth.secret.ref.name": "user", EXTERNAL_TOPIC: "orders",
    }  # fmt: skip
    assert alone.config == {EXTERNAL_TOPIC: "orders"}


@pytest.mark.parametrize("kind_of_broker", ["MTChannelBasedBroker", "RabbitMQBroker"])
def test_other_classes_than_kafkas_have_no_external_topic(read: Read, kind_of_broker: str) -> None:
    _, (problem,) = read(kind_of_broker, topic="orders")

    assert problem.path == f'metadata.annotations["{EXTERNAL_TOPIC}"]'
    assert problem.message == "only brokers of the classes Kafka and KafkaNamespaced have a topic"


def test_an_external_topic_that_cannot_be_is_told_at_the_broker(read: Read) -> None:
    _, (problem,) = read("Kafka", topic="a b")

    assert (problem.subject, problem.line) == ("Broker default/b", 5)
    assert "'a b' is no name of a topic" in problem.message


def test_a_class_that_is_misspelt_is_told_and_its_topic_is_not(read: Read) -> None:
    _, (problem,) = read("kafka", topic="orders")

    assert "unknown class 'kafka' (did you mean 'Kafka'?)" in problem.message


# --- RabbitMQ --------------------------------------------------------------------------------

OF_RABBITMQ: Final = (
    "spec: {config: {apiVersion: eventing.knative.dev/v1alpha1, kind: RabbitmqBrokerConfig, "
    "name: r, namespace: infra}}"
)


def broker_config(spec: str, secret: str = "", keys: str = "") -> str:
    """Return a RabbitmqBrokerConfig, and the Secret of that name with these keys."""
    found = (
        f"{OF_RABBITMQ}\n---\napiVersion: eventing.knative.dev/v1alpha1\n"
        f"kind: RabbitmqBrokerConfig\nmetadata: {{name: r, namespace: infra}}\nspec: {spec}\n"
    )
    if not secret:
        return found
    namespace, name = secret.split("/")
    return (
        f"{found}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, "
        f"namespace: {namespace}}}\nstringData: {{{keys}}}\n"
    )


USER: Final = "username: orders, password: sesame"


def test_a_cluster_of_rabbitmqs_operator_has_the_secret_that_the_operator_makes(read: Read) -> None:
    spec = "{rabbitmqClusterReference: {name: rabbit}, queueType: classic, vhost: shop}"

    found, problems = read(
        "RabbitMQBroker", broker_config(spec, "infra/rabbit-default-user", f"{USER}, host: h")
    )

    assert problems == []
    assert found is not None
    assert found.config == {
        "queueType": "classic", "vhost": "shop",
        "auth.secret.ref.name": "rabbit-default-user", "auth.secret.ref.namespace": "infra",
    }  # fmt: skip
    assert found.secret == {"username": "orders", "password": "sesame", "host": "h"}


def test_a_cluster_and_its_secret_can_be_in_another_namespace(read: Read) -> None:
    of_a_cluster = "{rabbitmqClusterReference: {name: rabbit, namespace: mq}}"
    of_a_secret = "{rabbitmqClusterReference: {connectionSecret: {name: s}, namespace: mq}}"

    by_name, _ = read("RabbitMQBroker", broker_config(of_a_cluster, "mq/rabbit-default-user", USER))
    by_secret, _ = read("RabbitMQBroker", broker_config(of_a_secret, "mq/s", USER))

    assert by_name is not None
    assert by_secret is not None
    assert by_name.secret == by_secret.secret == {"username": "orders", "password": "sesame"}


def test_a_cluster_whose_secret_is_not_there_is_doubtful(read: Read) -> None:
    found, (problem,) = read(
        "RabbitMQBroker", broker_config("{rabbitmqClusterReference: {name: rabbit}, vhost: shop}")
    )

    assert found is not None
    assert found.config == {"vhost": "shop"}
    assert str(problem).partition(": ")[2] == (
        "warning: RabbitmqBrokerConfig infra/r: spec.rabbitmqClusterReference.name: "
        "no Secret 'infra/rabbit-default-user' in these files; RabbitMQ's operator makes it; "
        "without it, --channel says where RabbitMQ is"
    )


def test_a_connection_secret_that_is_not_there_is_refused_where_it_is_named(read: Read) -> None:
    spec = "{rabbitmqClusterReference: {connectionSecret: {name: s}}}"

    _, (problem,) = read("RabbitMQBroker", broker_config(spec, "infra/t", USER))

    assert problem.severity == "error"
    assert problem.path == "spec.rabbitmqClusterReference.connectionSecret.name"
    assert problem.message == "no Secret 'infra/s' in these files (did you mean 'infra/t'?)"


@pytest.mark.parametrize("spec", ["{}", "{queueType: null, vhost: ''}"])
def test_a_broker_config_may_leave_everything_to_the_channel(read: Read, spec: str) -> None:
    found, problems = read("RabbitMQBroker", broker_config(spec))

    assert problems == []
    assert found is not None
    assert found.config == {}


def test_a_broker_config_that_is_not_there_is_refused(read: Read) -> None:
    text = broker_config("{}").replace("metadata: {name: r,", "metadata: {name: rr,")

    _, (problem,) = read("RabbitMQBroker", text)

    assert problem.path == "spec.config"
    assert problem.message == (
        "no RabbitmqBrokerConfig 'infra/r' in these files (did you mean 'infra/rr'?)"
    )


def test_a_broker_config_that_cannot_be_read_is_not_called_missing_too(read: Read) -> None:
    _, problems = read("RabbitMQBroker", broker_config("5"))

    assert [each.message for each in problems] == ["must be a mapping"]


@pytest.mark.parametrize("kind_of_broker", ["MTChannelBasedBroker", "Kafka"])
def test_a_broker_config_is_of_no_other_class(read: Read, kind_of_broker: str) -> None:
    _, (problem,) = read(kind_of_broker, broker_config("{}"))

    assert problem.path == "spec.config.kind"
    assert problem.message == (
        "a RabbitmqBrokerConfig is no configuration of this class; use a ConfigMap"
    )


def test_a_broker_of_that_class_may_have_a_config_map_instead(read: Read) -> None:
    config_map = CONFIG_MAP.replace("bootstrap.servers: ", "url: ").replace(
        "kafka:9092", "amqp://h"
    )
    secret = SECRET.replace("user: orders", "username: orders")

    found, problems = read("RabbitMQBroker", OF_KAFKA + config_map + secret)

    assert problems == []
    assert found is not None
    assert found.config == {"url": "amqp://h", "auth.secret.ref.name": "user"}
