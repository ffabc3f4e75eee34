"""That topics are there, or said why not, on a real Kafka."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from broker.channels.kafka.producing import Producing
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.errors import ChannelUnavailable
from tests.services.kafka.server import KafkaServer
from tests.services.kafka.settings import PASSWORD, USER, Listeners


def options(address: str, **secret: str) -> ClientOptions:
    config = {"auth.secret.ref.name": "secret"} if secret else {}
    named = {key.replace("_", "."): value for key, value in secret.items()}
    return settings(
        "default/default", config, named, defaults=from_url(f"kafka://{address}")
    ).client_options()


async def ensured(given: ClientOptions, topic: str, **changed: Any) -> int:  # noqa: ANN401 - aiokafka has no types
    wanted = {"partitions": 2, "replication_factor": 1, "config": {}, **changed}
    return await ensure_topic(given, topic, **wanted)


async def test_a_topic_is_created_with_partitions_and_configuration(kafka: str) -> None:
    topic = f"topics-{uuid4()}"

    partitions = await ensured(
        options(kafka), topic, partitions=5, config={"retention.ms": "86400000"}
    )

    assert partitions == 5
    assert (await configuration(kafka, topic))["retention.ms"] == "86400000"


async def test_a_topic_that_is_there_is_left_as_it_is(kafka: str) -> None:
    topic = f"topics-{uuid4()}"
    await ensured(options(kafka), topic, partitions=3, config={"retention.ms": "1000"})

    partitions = await ensured(options(kafka), topic, partitions=7, config={"retention.ms": "2000"})

    assert partitions == 3
    assert (await configuration(kafka, topic))["retention.ms"] == "1000"


async def test_several_may_create_a_topic_at_once(kafka: str) -> None:
    topic = f"topics-{uuid4()}"

    found = await asyncio.gather(*(ensured(options(kafka), topic) for _ in range(5)))

    assert found == [2] * 5


async def test_an_external_topic_is_not_created(kafka: str) -> None:
    topic = f"topics-{uuid4()}"

    with pytest.raises(ChannelUnavailable, match=f"no topic '{topic}', and an external topic"):
        await ensured(options(kafka), topic, external=True)

    with pytest.raises(ChannelUnavailable):
        await ensured(options(kafka), topic, external=True)


async def test_an_external_topic_that_is_there_is_used(kafka: str) -> None:
    topic = f"topics-{uuid4()}"
    await ensured(options(kafka), topic, partitions=4)

    assert await ensured(options(kafka), topic, external=True) == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"replication_factor": 3}, "INVALID_REPLICATION_FACTOR: Unable to replicate"),
        ({"config": {"retention.msec": "1"}}, "retention.msec"),
        ({"config": {"retention.ms": "long"}}, "retention.ms"),
    ],
)
async def test_what_kafka_says_against_a_topic_is_told(
    kafka: str, changed: dict[str, Any], said: str
) -> None:
    topic = f"topics-{uuid4()}"

    with pytest.raises(ChannelUnavailable, match=f"does not create the topic '{topic}'.*{said}"):
        await ensured(options(kafka), topic, **changed)


async def test_a_wrong_password_is_told(kafka_listeners: Listeners) -> None:
    wrong = options(
        kafka_listeners.sasl_plaintext,
        protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        user=USER,
        password="wrong",
    )
    cause = (
        f"Kafka at {kafka_listeners.sasl_plaintext} cannot be used: .*[Aa]uthentication.*'password'"
    )

    with pytest.raises(ChannelUnavailable, match=cause):
        await ensured(wrong, "any")
    async with Producing(wrong) as producing:
        with pytest.raises(ChannelUnavailable, match=cause):
            producing.check()


async def test_a_certificate_of_an_unknown_authority_is_told(kafka_listeners: Listeners) -> None:
    wrong = options(kafka_listeners.ssl, protocol="SSL", user_skip="true")

    with pytest.raises(ChannelUnavailable, match=r"cannot be used: TLS: .*certificate.*'ca.crt'"):
        await ensured(wrong, "any")


async def test_a_listener_that_expects_tls_is_told(kafka_listeners: Listeners) -> None:
    with pytest.raises(ChannelUnavailable, match="closed the connection; does it expect TLS"):
        await ensured(options(kafka_listeners.ssl), "any")


async def test_an_unreachable_server_and_a_host_without_an_address_are_told() -> None:
    with pytest.raises(ChannelUnavailable) as caught:
        await ensured(options("127.0.0.1:9,no-such-host.invalid:9092"), "any")

    assert "Kafka at 127.0.0.1:9 cannot be used: Connection refused; " in str(caught.value)
    assert "Kafka at no-such-host.invalid:9092 cannot be used: " in str(caught.value)


async def test_one_server_that_answers_is_enough(kafka: str) -> None:
    assert await ensured(options(f"127.0.0.1:9,{kafka}"), f"topics-{uuid4()}") == 2


def close_to_users(server: KafkaServer) -> None:
    properties = Path(server.listeners.folder, "server.properties")
    properties.write_text(
        f"{properties.read_text()}\n"
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
        "super.users=User:ANONYMOUS\n"
    )


async def test_a_user_without_rights_is_told_which_are_missing(kafka_server: KafkaServer) -> None:
    close_to_users(kafka_server)
    with kafka_server:
        await ensured(options(kafka_server.address), "closed")
        user = options(
            kafka_server.listeners.sasl_plaintext,
            protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            user=USER,
            password=PASSWORD,
        )

        with pytest.raises(ChannelUnavailable, match="does not let mesh use the topic 'closed'"):
            await ensured(user, "closed")
        async with Producing(user) as producing:
            with pytest.raises(ChannelUnavailable, match="does not let mesh produce"):
                producing.check()


async def configuration(address: str, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        ((answer),) = await admin.describe_configs([resource])
    finally:
        await admin.close()
    ((*_, entries),) = answer.resources
    return {entry[0]: entry[1] for entry in entries}
