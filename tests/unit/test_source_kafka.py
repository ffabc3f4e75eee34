"""KafkaSource without a Kafka: the event that a record becomes, and what a spec may say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.connections.kafka import MECHANISMS
from broker.errors import InvalidEvent
from broker.event import Event
from broker.manifest import load
from sources.kafka import KafkaSpec
from sources.kafka.records import Record, event_of

URI = "/apis/v1/namespaces/shop/kafkasources/orders"
SERVERS: Mapping[str, object] = {"bootstrapServers": ["kafka:9092"], "topics": ["orders"]}
PASSWORD = "swordfish"


def read(
    *,
    key: bytes | None = None,
    value: bytes | None = b"{}",
    timestamp: int = 1_772_330_400_123,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> Event:
    record = Record(
        topic="orders",
        partition=1,
        offset=42,
        timestamp=timestamp,
        key=key,
        value=value,
        headers=headers,
    )
    return event_of(record, URI)


def refused(**spec: object) -> str:
    with pytest.raises(ValidationError) as caught:
        KafkaSpec.model_validate({**SERVERS, **spec})
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"


# --- records ---------------------------------------------------------------------------------


def test_a_record_is_told_of_in_knatives_words() -> None:
    event = read(value=None)

    assert event.attributes == {
        "specversion": "1.0",
        "id": "partition:1/offset:42",
        "source": f"{URI}#orders",
        "type": "dev.knative.kafka.event",
        "subject": "partition:1#42",
        "time": "2026-03-01T02:00:00.123Z",
    }
    assert event.data is None


@pytest.mark.parametrize("timestamp", [-1, 10**18])
def test_a_time_that_nobody_knows_is_not_made_up(timestamp: int) -> None:
    assert "time" not in read(timestamp=timestamp).attributes


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        ("kä 1".encode(), {"key": "kä 1", "partitionkey": "kä 1"}),
        (b"\x00\x00\x00\x07", {"keybase64": "AAAABw==", "partitionkey": "AAAABw=="}),
        (b"\xff", {"keybase64": "/w==", "partitionkey": "/w=="}),
        (b"", {}),
        (None, {}),
    ],
)
def test_a_key_is_kept_as_text_or_in_base64(
    key: bytes | None, attributes: Mapping[str, str]
) -> None:
    found = read(key=key).attributes

    assert {name: found[name] for name in found if "key" in name} == attributes


def test_headers_are_attributes_as_far_as_they_can_be() -> None:
    event = read(
        headers=[
            ("Trace-Id", b"1"),
            ("trace_id", b"2"),
            ("binary", b"\xff"),
            ("null", None),
            ("control", b"\x00"),
            ("--", b"3"),
            ("content-type", b"no media type"),
        ]
    )

    found = {name: each for name, each in event.attributes.items() if name.startswith("kafka")}
    assert found == {"kafkaheadertraceid": "1", "kafkaheadercontenttype": "no media type"}
    assert "datacontenttype" not in event.attributes


@pytest.mark.parametrize("name", ["ce_id", "ce_specversion", "ce_source", "ce_type"])
def test_what_says_it_is_an_event_and_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent):
        read(headers=[(name, b"1")])


def test_other_headers_make_no_event_of_a_record() -> None:
    event = read(headers=[("ce_note", b"1"), ("content-type", b"text/plain")])

    assert (event.type, event.attributes["kafkaheadercenote"]) == ("dev.knative.kafka.event", "1")


def test_a_batch_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="batched"):
        read(headers=[("content-type", b"Application/CloudEvents-batch+json")], value=b"[]")


# --- the spec --------------------------------------------------------------------------------


def test_a_spec_needs_no_more_than_servers_and_topics() -> None:
    spec = KafkaSpec.model_validate(SERVERS)

    assert (spec.initial_offset, spec.ordering) == ("latest", "ordered")
    assert spec.group("shop", "orders") == "cemesh-source.shop.orders"
    named = KafkaSpec.model_validate({**SERVERS, "consumerGroup": "mine", "consumers": 3})
    assert named.group("shop", "orders") == "mine"


def test_no_two_sources_share_a_group_by_accident() -> None:
    spec = KafkaSpec.model_validate(SERVERS)

    assert spec.group("a", "b.c") != spec.group("a-b", "c") != spec.group("a", "b-c")


@pytest.mark.parametrize(
    "server", ["kafka", "kafka:0", "kafka:65536", "http://kafka:9092", "a:1,b:2"]
)
def test_a_server_is_a_host_and_a_port(server: str) -> None:
    assert f"'{server}' is not of the form HOST:PORT" in refused(bootstrapServers=[server])


@pytest.mark.parametrize("topic", ["", "..", "a b", "ä", "x" * 250])
def test_a_topic_has_a_name_that_kafka_takes(topic: str) -> None:
    assert refused(topics=[topic]).startswith(f"topics.0: '{topic}' is no name of a topic")


@pytest.mark.parametrize("field", ["bootstrapServers", "topics"])
def test_servers_and_topics_are_not_empty(field: str) -> None:
    assert field in refused(**{field: []})


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            {"sasl": {"enable": True, "password": PASSWORD}},
            "net.sasl: 'user' is missing or empty; SASL needs it",
        ),
        (
            {"sasl": {"enable": True, "user": "me", "password": PASSWORD, "type": "SCRAM-SHA-265"}},
            "net.sasl: the value of 'type' is not known (did you mean 'SCRAM-SHA-256'?); known: "
            + ", ".join(MECHANISMS),
        ),
        (
            {"sasl": {"enable": True, "user": "me", "password": f"{PASSWORD}\n"}},
            (
                "net.sasl: 'password' has U+000A (line feed) at character 10, which no SASL "
                "password may have; was it made with 'echo' where 'echo -n' was meant?"
            ),
        ),
        (
            {"tls": {"enable": True, "caCert": PASSWORD}},
            "net.tls: 'caCert' holds no certificates in PEM format",
        ),
        (
            {"tls": {"enable": True, "key": PASSWORD}},
            "net.tls: 'cert' and 'key' are of no use without each other",
        ),
    ],
)
def test_what_is_wrong_with_secrets_is_said_and_they_are_not_shown(
    net: Mapping[str, object], message: str
) -> None:
    assert refused(net=net) == message


def test_a_secret_is_in_no_repr() -> None:
    sasl = {"enable": True, "user": "me", "password": PASSWORD}

    assert PASSWORD not in repr(KafkaSpec.model_validate({**SERVERS, "net": {"sasl": sasl}}))


def test_what_is_not_enabled_is_not_looked_at() -> None:
    net = {"sasl": {"type": "?"}, "tls": {"caCert": "?"}}

    KafkaSpec.model_validate({**SERVERS, "net": net})


MANIFEST = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: kafka}
stringData: {user: me, password: swordfish, mechanism: SCRAM-SHA-512}
---
apiVersion: sources.knative.dev/v1beta1
kind: KafkaSource
metadata: {name: orders}
spec:
  bootstrapServers: ["kafka:9092"]
  topics: [orders]
  net:
    sasl:
      enable: true
      user: {secretKeyRef: {name: kafka, key: user}}
      password: {secretKeyRef: {name: kafka, key: password}}
      type: {secretKeyRef: {name: kafka, key: mechanism}}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: default}}
"""


def test_a_manifest_of_knative_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(MANIFEST)

    [source] = load([file]).desired.sources.values()

    assert isinstance(source.spec, KafkaSpec)
    assert source.spec.net.sasl.mechanism == "SCRAM-SHA-512"
    assert source.spec.net.sasl.password is not None
    assert source.spec.net.sasl.password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(source)
