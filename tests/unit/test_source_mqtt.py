"""MqttSource and MqttSink without a server: what a message becomes, and what a spec may say."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import ValidationError

from broker.connections.mqtt import Message, MqttAccess, content_of, event_of
from broker.connections.mqtt.unanswered import Unanswered
from broker.errors import InvalidEvent
from broker.event import Event
from broker.manifest import load
from sinks.mqtt import MqttSinkSpec
from sources.mqtt import MqttSpec
from tests.services.certificates import make_certificates

URI = "/apis/v1/namespaces/shop/mqttsources/orders"
PASSWORD = "swordfish"
DOCS = Path(__file__).parents[2] / "docs"
IDENTITY = [("specversion", "1.0"), ("id", "1"), ("source", "/shop"), ("type", "order")]


def refused(model: type[MqttAccess] = MqttSpec, **spec: object) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"url": "mqtt://mqtt", "topics": ["orders"], **spec})
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"


def refused_topic(topic: str) -> str:
    with pytest.raises(ValidationError) as caught:
        MqttSinkSpec.model_validate({"url": "mqtt://mqtt", "topic": topic})
    [error] = caught.value.errors()
    return error["msg"]


# --- messages --------------------------------------------------------------------------------


def test_what_else_mqtt_knows_of_a_message_is_in_extensions() -> None:
    message = Message(
        topic="a/b", response_topic="answers", correlation_data=b"7", retained=True, payload=b"x"
    )

    found = event_of(message, URI).attributes

    assert {name: found[name] for name in found if name.startswith("mqtt")} == {
        "mqttresponsetopic": "answers",
        "mqttcorrelationdata": "7",
        "mqttretained": "true",
    }


def test_what_can_be_in_no_attribute_is_left_out() -> None:
    message = Message(topic="a", content_type="no media type", correlation_data=b"\xff")

    assert event_of(message, URI).attributes.keys() == {
        "specversion",
        "id",
        "source",
        "type",
        "subject",
    }


@pytest.mark.parametrize(
    "message",
    [
        Message(user_properties=[*IDENTITY, ("id", "2")]),
        Message(user_properties=[*IDENTITY, ("datacontenttype", "a/b")], content_type="text/plain"),
        Message(content_type="Application/CloudEvents-batch+json", payload=b"[]"),
        Message(content_type="application/cloudevents+avro"),
    ],
    ids=["twice", "two-content-types", "batch", "another-format"],
)
def test_what_says_it_is_an_event_and_is_none_is_refused(message: Message) -> None:
    with pytest.raises(InvalidEvent):
        event_of(message, URI)


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("data", [None, b"", b"\xff", b'{"n": 1.0}'])
def test_an_event_comes_out_of_its_message_as_it_was(data: bytes | None, structured: bool) -> None:
    event = Event.checked({**dict(IDENTITY), "datacontenttype": "text/x"}, data)

    message = content_of(event, structured=structured, retained=False)

    # In binary mode, MQTT cannot tell an empty payload from none.
    assert event_of(message, URI).data == (data if structured else data or None)
    assert event_of(message, URI).attributes == event.attributes


# --- what is on its way ----------------------------------------------------------------------


async def test_a_message_that_nobody_waits_for_keeps_its_place_until_it_is_answered() -> None:
    unanswered = Unanswered(1)
    await unanswered.turn()
    given_up = asyncio.create_task(unanswered.answer_to(1))
    next_one = asyncio.create_task(unanswered.turn())
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    await asyncio.sleep(0)
    before = next_one.done()

    unanswered.answered(1, ReasonCode(PacketTypes.PUBACK))
    await asyncio.wait_for(next_one, 10)

    assert not before


# --- where, and who --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address", "has_tls"),
    [
        ("mqtt://a", "a:1883", False),
        ("mqtts://a.example/", "a.example:8883", True),
        ("mqtts://[::1]:1", "[::1]:1", True),
        ("a:9", "a:9", False),
    ],
)
def test_a_url_says_where_and_whether_by_tls(url: str, address: str, has_tls: bool) -> None:
    access = MqttAccess.model_validate({"url": url})

    assert (access.address, access.has_tls) == (address, has_tls)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"url": "http://a"}, "url: 'http://a' is not mqtt://HOST, mqtts://HOST or HOST:PORT"),
        ({"url": "a"}, "url: 'a' is not mqtt://HOST, mqtts://HOST or HOST:PORT"),
        ({"url": "a:65536"}, "url: 'a:65536' has no port from 1 to 65535"),
        (
            {"url": f"mqtt://me:{PASSWORD}@a"},
            "url: has a user in it, who belongs into 'user' and 'password'",
        ),
        (
            {"tls": {"enable": True}},
            ": 'url' is mqtt:, which is without TLS, and 'tls.enable' is true",
        ),
        ({"password": PASSWORD}, ": 'password' is of no use without 'user'"),
        (
            {"user": "me", "password": f"{PASSWORD}\n"},
            (
                ": 'password' has U+000A (line feed) at character 10, which no password of MQTT "
                "may have; was it made with 'echo' where 'echo -n' was meant?"
            ),
        ),
        (
            {"tls": {"caCert": PASSWORD}},
            "tls: 'caCert' holds no certificates in PEM format",
        ),
        ({"tls": {"key": PASSWORD}}, "tls: 'cert' and 'key' are of no use without each other"),
        ({"sessionExpiry": "PT0.5S"}, "sessionExpiry: must be from PT1S to P49710D"),
        ({"topics": ["$share/x"]}, "topics.0: '$share/x' is not of the form $share/GROUP/TOPIC"),
        (
            {"topics": ["a/b+"]},
            "topics.0: 'a/b+': '+' and '#' stand for whole levels, between slashes",
        ),
        ({"topics": ["#/a"]}, "topics.0: '#/a': '#' can only be the last level"),
    ],
)
def test_what_is_wrong_is_said_and_what_is_secret_is_not_shown(
    spec: dict[str, Any], message: str
) -> None:
    assert refused(**spec) == message


def test_a_session_has_a_name_for_ever_that_no_other_source_has() -> None:
    spec = MqttSpec.model_validate({"url": "a:1", "topics": ["+/b/#", "$share/g/a/#"]})

    assert spec.client("shop", "orders") == "cemesh-source.shop.orders"
    assert spec.client("a", "b.c") != spec.client("a-b", "c") != spec.client("a", "b-c")


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("a/{Type}", "'{Type}' is not the name of an attribute"),
        ("a/{data}", "'{data}' is not the name of an attribute"),
        ("a/{type", "has a brace that belongs to no {attribute}"),
        ("a/#", "has '+', '#' or NUL in it"),
        ("$SYS/a", "begins with '$'"),
    ],
)
def test_a_topic_of_a_sink_is_one_that_messages_can_have(topic: str, why: str) -> None:
    assert why in refused_topic(topic)


SECRET = """
apiVersion: v1
kind: Secret
metadata: {{name: mqtt}}
stringData:
  user: me
  password: swordfish
  ca.crt: |
    {authority}
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default}}
"""


def test_the_manifests_of_the_pages_are_taken_and_show_no_secret(tmp_path: Path) -> None:
    pages = ("sources/MqttSource.md", "sinks/MqttSink.md")
    shown = [
        re.findall(r"```yaml\n(.*?)```", (DOCS / each).read_text(), re.DOTALL)[0] for each in pages
    ]
    authority = make_certificates().authority.strip().replace("\n", "\n    ")
    file = tmp_path / "mesh.yaml"
    file.write_text("---\n".join([SECRET.format(authority=authority), *shown]))

    desired = load([file]).desired

    [source] = desired.sources.values()
    assert isinstance(source.spec, MqttSpec)
    assert source.spec.password is not None
    assert source.spec.password.get_secret_value() == PASSWORD
    assert source.spec.has_tls
    assert PASSWORD not in repr(desired)
