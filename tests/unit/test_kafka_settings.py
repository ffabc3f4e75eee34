"""What a broker's ConfigMap and Secret say to the Kafka channel, and what they must not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from broker.channels.kafka.settings import Settings, check, from_url, settings
from broker.errors import CemeshError

BROKER: Final = "shop/orders"
SERVERS: Final = {"bootstrap.servers": "kafka:9092"}


def read(config: Mapping[str, str]) -> Settings:
    return settings(BROKER, {**SERVERS, **config}, {}, defaults={})


def faults(config: Mapping[str, str]) -> list[str]:
    return [str(fault) for fault in check(BROKER, {**SERVERS, **config}, {})]


# --- the ConfigMap ---------------------------------------------------------------------------


def test_what_a_config_map_does_not_say_is_as_with_knative() -> None:
    found = read({})

    assert (found.partitions, found.replication_factor) == (10, 3)
    assert (found.topic, found.external) == ("knative-broker-shop-orders", False)
    assert found.group == "knative-trigger-shop-orders"
    assert found.topic_config == {}
    assert found.security.protocol == "PLAINTEXT"


def test_a_config_map_of_knative_is_read_unchanged() -> None:
    config = {
        "bootstrap.servers": " my-cluster-kafka-bootstrap.kafka:9092,\n10.0.0.1:9093, [::1]:9094,",
        "default.topic.partitions": "12",
        "default.topic.replication.factor": "1",
        "default.topic.config.retention.ms": "86400000",
        "_example": "bootstrap.servers: …",
        "channel-template-spec": "kind: InMemoryChannel",
        "dispatcher.rate-limiter": "disabled",
    }

    found = read(config)

    assert check(BROKER, config, {}) == []
    assert found.bootstrap_servers == (
        "my-cluster-kafka-bootstrap.kafka:9092", "10.0.0.1:9093", "[::1]:9094",
    )  # fmt: skip
    assert (found.partitions, found.replication_factor) == (12, 1)
    assert found.topic_config == {"retention.ms": "86400000"}


def test_a_broker_without_a_secret_connects_in_plain_text() -> None:
    options = read({}).client_options()

    assert options["bootstrap_servers"] == ["kafka:9092"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert options["ssl_context"] is None


@pytest.mark.parametrize(
    "server",
    ["kafka", "kafka:", ":9092", "kafka:0", "kafka:65536", "PLAINTEXT://kafka:9092", "kaf ka:9092"],
)
def test_a_server_that_is_not_host_and_port_is_told(server: str) -> None:
    (fault,) = faults({"bootstrap.servers": f"kafka:9092,{server}"})

    assert fault == (
        f"ConfigMap: bootstrap.servers: '{server}': not of the form HOST:PORT, with a port up to "
        "65535"
    )


def test_a_server_with_a_hidden_character_is_told_with_its_number() -> None:
    (fault,) = faults({"bootstrap.servers": "kafka\u200b:9092"})

    assert r"'kafka\u200b:9092': not of the form" in fault


def test_no_server_at_all_is_told() -> None:
    assert faults({"bootstrap.servers": " , "}) == ["ConfigMap: bootstrap.servers: names no server"]


@pytest.mark.parametrize("number", ["", "0", "-1", "1.5", "ten", "10\n", "1_0", "٣", "32768"])
def test_a_replication_factor_that_is_no_number_in_range_is_told(number: str) -> None:
    (fault,) = faults({"default.topic.replication.factor": number})

    assert fault == (
        f"ConfigMap: default.topic.replication.factor: {number!r} is not a whole number from 1 to "
        "32767"
    )


def test_a_number_of_partitions_that_is_too_large_is_told() -> None:
    assert faults({"default.topic.partitions": "2147483647"}) == []
    assert len(faults({"default.topic.partitions": "2147483648"})) == 1


def test_an_unknown_key_is_told_with_the_one_that_was_meant() -> None:
    assert faults({"default.topic.partition": "10"}) == [
        "ConfigMap: default.topic.partition: unknown key (did you mean 'default.topic.partitions'?)"
    ]


@pytest.mark.parametrize("policy", ["compact", "delete,compact", "compact, delete"])
def test_a_topic_that_kafka_would_compact_is_refused(policy: str) -> None:
    (fault,) = faults({"default.topic.config.cleanup.policy": policy})

    assert fault.endswith("'compact' would lose events; use 'delete'")


def test_a_configuration_of_topics_without_a_name_is_told() -> None:
    assert len(faults({"default.topic.config.": "1"})) == 1


# --- names -----------------------------------------------------------------------------------


def test_topics_and_groups_are_named_by_templates() -> None:
    found = read(
        {
            "brokers.topic.template": "{{.Namespace}}.{{ .Name }}.events",
            "triggers.consumergroup.template": "{{  .Name }}_of_{{ .Namespace}}",
        }
    )

    assert found.topic == "shop.orders.events"
    assert found.group == "orders_of_shop"


@pytest.mark.parametrize("at", ["brokers.topic.template", "triggers.consumergroup.template"])
@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("x-{{ .UID }}-{{ .Name }}", "asks for what is not known here"),
        ("{{ .Name }", "asks for what is not known here"),
        ("x}}{{ .Name }}", "asks for what is not known here"),
        ("{{ .Namespace }}", "has no {{ .Name }}, so all would have the same name"),
        ("", "has no {{ .Name }}, so all would have the same name"),
        ("events of {{ .Name }}", "gives names with other characters than"),
        ("{{ .Name }}\u00ad", "gives names with other characters than"),
    ],
)
def test_a_template_that_cannot_name_anything_is_told(at: str, template: str, why: str) -> None:
    (fault,) = faults({at: template})

    assert fault.startswith(f"ConfigMap: {at}: {template!r} ")
    assert why in fault


def test_a_topic_of_more_than_249_characters_with_what_stands_behind_it_is_told() -> None:
    longest = f"shop/{'x' * (249 - len('knative-broker-shop--delay-1024000ms'))}"

    assert check(longest, SERVERS, {}) == []
    (fault,) = check(f"{longest}x", SERVERS, {})
    assert fault.key == "brokers.topic.template"
    assert "is no name of a topic" in fault.message


def test_an_external_topic_takes_the_place_of_the_template() -> None:
    found = read(
        {
            "kafka.eventing.knative.dev/external.topic": "Orders_2",
            "brokers.topic.template": "of-{{ .Namespace }}-{{ .Name }}",
        }
    )

    assert (found.topic, found.external) == ("Orders_2", True)
    assert found.base == "of-shop-orders"  # what is beside it is the mesh's own


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "ä", "x" * 250])
def test_an_external_topic_that_kafka_cannot_have_is_told(topic: str) -> None:
    (fault,) = faults({"kafka.eventing.knative.dev/external.topic": topic})

    assert f"{topic!r} is no name of a topic" in fault


# --- the URL ---------------------------------------------------------------------------------


def test_the_url_says_what_a_config_map_leaves_open() -> None:
    defaults = from_url("kafka://a:9092,b:9092?default.topic.partitions=2"
                        "&brokers.topic.template=x.{{.Name}}")  # fmt: skip

    of_its_own = settings(
        BROKER, {"bootstrap.servers": "c:9092", "default.topic.partitions": "4"}, {},
        defaults=defaults,
    )  # fmt: skip
    without = settings(BROKER, {}, {}, defaults=defaults)

    assert (of_its_own.bootstrap_servers, of_its_own.partitions) == (("c:9092",), 4)
    assert (without.bootstrap_servers, without.partitions) == (("a:9092", "b:9092"), 2)
    assert of_its_own.topic == without.topic == "x.orders"


@pytest.mark.parametrize("url", ["kafka:", "kafka://", "kafka:///"])
def test_a_url_without_servers_says_nothing(url: str) -> None:
    assert from_url(url) == {}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("kafka://a", "bootstrap.servers: 'a': not of the form HOST:PORT"),
        ("kafka:a:9092", "is not of the form kafka://HOST:PORT"),
        ("kafka://a:9092/topic", "is not of the form kafka://HOST:PORT"),
        ("kafka://a:9092?x", "is not of the form kafka://HOST:PORT"),
        ("kafka://a:9092#x=1", "is not of the form kafka://HOST:PORT"),
        ("kafka://[a:9092", "is not of the form kafka://HOST:PORT"),
        ("kafka://a:9092?default.topic.partitions=0", "default.topic.partitions: '0' is not a"),
        ("kafka://a:9092?default.topic.partitons=1", "(did you mean 'default.topic.partitions'?)"),
        ("kafka://a:9092?auth.secret.ref.name=x", "auth.secret.ref.name: cannot stand in a URL"),
        ("kafka://a:9092?bootstrap.servers=b:1", "bootstrap.servers: cannot stand in a URL"),
    ],
)
def test_a_url_that_says_something_else_is_refused(url: str, why: str) -> None:
    with pytest.raises(CemeshError) as caught:
        from_url(url)

    assert str(caught.value).startswith("--channel: ")
    assert why in str(caught.value)


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(CemeshError) as caught:
        from_url("kafka://orders:sesame@kafka:9092")

    assert "put them into a Secret" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_broker_without_servers_is_refused_when_it_is_opened_and_not_before() -> None:
    assert check(BROKER, {}, {}) == []

    with pytest.raises(CemeshError, match=r"^broker shop/orders: ConfigMap: bootstrap.servers: is"):
        settings(BROKER, {}, {}, defaults={})


def test_a_broker_whose_secret_is_not_there_does_not_connect_without_it() -> None:
    with pytest.raises(CemeshError, match=r"Secret: protocol: is missing"):
        settings(BROKER, {**SERVERS, "auth.secret.ref.name": "kafka"}, {}, defaults={})


def test_a_broker_that_was_not_checked_is_refused_in_the_same_words() -> None:
    config = {"auth.secret.ref.name": "kafka", "default.topic.partitions": "0"}
    secret = {"protocol": "SASL_PLAINTEXT", "user": "orders", "password": "sesame\n"}

    told = [str(fault) for fault in check(BROKER, config, secret)]
    with pytest.raises(CemeshError) as caught:
        settings(BROKER, config, secret, defaults=SERVERS)

    assert len(told) == 2
    assert str(caught.value) == f"broker shop/orders: {'; '.join(told)}"
