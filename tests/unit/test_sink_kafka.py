"""KafkaSink without a Kafka: what a spec and its Secret may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.errors import InvalidManifest
from broker.manifest import load
from sinks.kafka import KafkaSinkSpec

PAGE = Path(__file__, "../../../docs/sinks/KafkaSink.md").resolve()
MINIMAL: Mapping[str, object] = {"bootstrapServers": ["kafka:9092"], "topic": "orders"}
PASSWORD = "swordfish"
BROKER = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
"""
SECRET = """
---
apiVersion: v1
kind: Secret
metadata: {name: kafka}
stringData: {protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, user: me, password: swordfish}
"""


def refused(**spec: object) -> str:
    with pytest.raises(ValidationError) as caught:
        KafkaSinkSpec.model_validate({**MINIMAL, **spec})
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"


def test_a_spec_needs_no_more_than_servers_and_a_topic_and_is_structured_as_knatives() -> None:
    spec = KafkaSinkSpec.model_validate(MINIMAL)

    assert spec.content_mode == "structured"
    assert (spec.access.sasl.enable, spec.access.tls.enable) == (False, False)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"topic": "a b"}, "topic: 'a b' is no name of a topic"),
        (
            {"numPartitions": 3},
            ": 'numPartitions' and 'replicationFactor' are of no use without each other",
        ),
        (
            {"auth": {"protocol": "PLAINTEXT"}, "net": {"tls": {"enable": True}}},
            ": 'auth' and 'net' both say who connects; one of them is enough",
        ),
        (
            {"auth": {"protocol": "SASLSSL", "password": PASSWORD}},
            "auth: 'protocol' in the Secret is not known (did you mean 'SASL_SSL'?); known: ",
        ),
        (
            {"auth": {"protocol": "SASL_SSL", "password": PASSWORD}},
            "auth: in the Secret, 'user' is missing or empty; SASL needs it",
        ),
        (
            {
                "auth": {
                    "protocol": "SASL_PLAINTEXT",
                    "user": "me",
                    "password": PASSWORD,
                    "sasl.mechanism": "OAUTHBEARER",
                }
            },
            "auth: in the Secret, the value of 'sasl.mechanism' is not known; known: PLAIN, ",
        ),
        (
            {"auth": {"protocol": "SSL", "ca.crt": PASSWORD}},
            "auth: in the Secret, 'ca.crt' holds no certificates in PEM format",
        ),
        (
            {"auth": {"protocol": "SSL", "user.key": PASSWORD}},
            "auth: in the Secret, 'user.crt' and 'user.key' are of no use without each other",
        ),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is_shown(
    spec: Mapping[str, object], message: str
) -> None:
    assert refused(**spec).startswith(message)


def test_what_the_protocol_has_no_use_for_is_not_looked_at() -> None:
    secret = {"protocol": "PLAINTEXT", "sasl.mechanism": "?", "ca.crt": "?"}

    KafkaSinkSpec.model_validate({**MINIMAL, "auth": secret})


def test_a_secret_is_in_no_repr() -> None:
    secret = {"protocol": "SASL_PLAINTEXT", "user": "me", "password": PASSWORD}

    assert PASSWORD not in repr(KafkaSinkSpec.model_validate({**MINIMAL, "auth": secret}))


def test_the_manifest_of_the_page_is_taken(tmp_path: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "mesh.yaml"
    file.write_text(shown + BROKER + SECRET)

    [trigger] = load([file]).desired.triggers.values()

    assert trigger.subscriber.sink is not None
    spec = trigger.subscriber.sink.spec
    assert isinstance(spec, KafkaSinkSpec)
    assert (spec.content_mode, spec.num_partitions, spec.replication_factor) == ("binary", 6, 3)
    assert spec.access.sasl.mechanism == "SCRAM-SHA-512"
    assert spec.access.sasl.password is not None
    assert spec.access.sasl.password.get_secret_value() == PASSWORD
    assert spec.access.tls.enable
    assert PASSWORD not in repr(trigger)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: kafka}}", "name: kaffka}}"), "no Secret 'default/kaffka' in these files"),
        (("{ref: {name: kafka}}", "{name: kafka}"), "must be secret: {ref: {name: …}}"),
        (("protocol: SASL_SSL, ", ""), "the Secret 'default/kafka' has no 'protocol'"),
    ],
)
def test_a_secret_that_is_not_there_or_is_not_named_as_knative_does_is_refused(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    text = shown + BROKER + SECRET
    assert change[0] in text
    file = tmp_path / "mesh.yaml"
    file.write_text(text.replace(*change))

    with pytest.raises(InvalidManifest, match=re.escape(message)):
        load([file])
