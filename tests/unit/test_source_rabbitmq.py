"""RabbitmqSource and RabbitmqSink without a server: their specs, their pages, equal messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic import ValidationError

from broker.manifest import load
from sinks.rabbitmq import RabbitmqSinkSpec
from sources.rabbitmq import RabbitmqSpec
from sources.rabbitmq.messages import event_of
from tests.services.certificates import make_certificates

ROOT = Path(__file__, "../../..").resolve()
PASSWORD = "swordfish"
QUEUE: Mapping[str, object] = {"queueName": "orders", "predeclared": True}
MINIMAL: Mapping[str, object] = {"url": "amqp://rabbitmq", "rabbitmqResourcesConfig": QUEUE}
SINK: Mapping[str, object] = {"url": "amqp://rabbitmq", "exchange": "orders"}
OTHERS = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default}}
---
apiVersion: v1
kind: Secret
metadata: {{name: rabbitmq}}
stringData:
  username: me
  password: swordfish
  ca.crt: |
    {authority}
"""


def refused(model: type[RabbitmqSpec | RabbitmqSinkSpec], spec: Mapping[str, object]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(spec)
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def test_a_spec_needs_no_more_than_a_url_and_a_queue() -> None:
    spec = RabbitmqSpec.model_validate(MINIMAL)

    assert (spec.server.server, spec.server.vhost, spec.server.user) == (
        "rabbitmq:5672",
        "/",
        "guest",
    )
    assert spec.rabbitmq_resources_config.parallelism == 100


@pytest.mark.parametrize(
    ("url", "vhost", "found"),
    [
        ("amqp://rabbitmq/a%2Fb", None, "a/b"),
        ("amqps://rabbitmq", "shop", "shop"),
        ("amqp://rabbitmq/shop", "shop", "shop"),
    ],
)
def test_the_virtual_host_is_in_the_url_or_beside_the_queue(
    url: str, vhost: str | None, found: str
) -> None:
    spec = {"url": url, "rabbitmqResourcesConfig": {**QUEUE, "vhost": vhost}}

    assert RabbitmqSpec.model_validate(spec).server.vhost == found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"url": "http://rabbitmq"},
            (
                "url: 'http://rabbitmq' is not of the form amqp://HOST:PORT/VHOST, or amqps:// "
                "for TLS"
            ),
        ),
        (
            {"url": f"amqp://me:{PASSWORD}@rabbitmq"},
            "url: has a user or a password in it; say them by 'user' and 'password'",
        ),
        ({"user": "me"}, ": 'user' and 'password' are of no use without each other"),
        ({"user": "me", "password": ""}, ": 'password' is empty"),
        (
            {"tls": {"enable": True}},
            ": 'url' is amqp:, which is without TLS, and 'tls.enable' is true",
        ),
        (
            {"url": "amqps://rabbitmq", "tls": {"caCert": PASSWORD}},
            ": 'tls' has certificates, and 'enable' is not true beside them",
        ),
        (
            {"url": "amqps://rabbitmq", "tls": {"enable": True, "caCert": PASSWORD}},
            "tls: 'caCert' holds no certificates in PEM format",
        ),
        (
            {"rabbitmqResourcesConfig": {"queueName": "orders"}},
            (
                "rabbitmqResourcesConfig: 'exchangeName' is missing; or say 'predeclared: true', "
                "and the queue is used as it is"
            ),
        ),
        (
            {"url": "amqp://rabbitmq/a", "rabbitmqResourcesConfig": {**QUEUE, "vhost": "b"}},
            ": 'url' names another virtual host than 'vhost' does",
        ),
    ],
)
def test_what_is_wrong_with_a_source_is_said_and_no_secret_is_shown(
    spec: Mapping[str, object], message: str
) -> None:
    assert refused(RabbitmqSpec, {**MINIMAL, **spec}) == message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"exchange": None},
            ": say 'exchange', or by 'routingKey' the name of a queue, or both",
        ),
        (
            {"routingKey": "{Type}"},
            "routingKey: '{Type}' is not the name of an attribute: a-z and 0-9",
        ),
        ({"routingKey": "a}"}, "routingKey: has a brace that belongs to no {attribute}"),
    ],
)
def test_what_is_wrong_with_a_sink_is_said(spec: Mapping[str, object], message: str) -> None:
    assert refused(RabbitmqSinkSpec, {**SINK, **spec}) == message


def test_a_secret_is_in_no_repr() -> None:
    spec = RabbitmqSpec.model_validate({**MINIMAL, "user": "me", "password": PASSWORD})

    assert PASSWORD not in repr(spec) + repr(spec.server)


def test_equal_messages_without_an_id_are_events_of_their_own() -> None:
    header = ContentHeader(properties=Basic.Properties(headers={}))
    message = DeliveredMessage(Basic.Deliver(), header, b"same", None)  # type: ignore[arg-type]  # nobody asks for its channel

    one, other = event_of(message, "/source", "a b"), event_of(message, "/source", "a b")

    assert one.id != other.id
    assert one.source == "/source#a%20b"
    assert "subject" not in one.attributes
    assert "key" not in one.attributes


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("docs/sources/RabbitmqSource.md", RabbitmqSpec),
        ("docs/sinks/RabbitmqSink.md", RabbitmqSinkSpec),
    ],
)
def test_the_manifest_of_the_page_is_taken(page: str, model: type, tmp_path: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    file = tmp_path / "mesh.yaml"
    authority = make_certificates().authority.strip().replace("\n", "\n    ")
    file.write_text(shown + OTHERS.format(authority=authority))

    desired = load([file]).desired

    specs = [each.spec for each in desired.sources.values()]
    sinks = [each.subscriber.sink for each in desired.triggers.values()]
    specs += [each.spec for each in sinks if each is not None]
    assert model in map(type, specs)
