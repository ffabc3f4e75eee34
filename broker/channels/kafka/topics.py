"""Topics: there when they are needed, as a broker's ConfigMap wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    NotControllerError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.metadata import MetadataRequest

from broker.channels.kafka.connecting import ANSWER_WITHIN, at, check_reachable, said, who
from broker.channels.kafka.settings import ClientOptions
from broker.errors import ChannelUnavailable

_USABLE_WITHIN: Final = 10.0
_LOOKS_EVERY: Final = 0.05

# What passes by itself: not all servers have heard of a new topic, or lead its partitions, yet.
_PASSING: Final = (UnknownTopicOrPartitionError, LeaderNotAvailableError, NotControllerError)


async def ensure_topic(
    options: ClientOptions,
    topic: str,
    *,
    partitions: int,
    replication_factor: int,
    config: Mapping[str, str],
    external: bool = False,
) -> int:
    """Return how many partitions the topic has, once all of them have a leader.

    It is created where there is none, unless it is ``external``. One that is there is left as it
    is, whatever it is like. Raises `ChannelUnavailable` with what Kafka said.
    """
    async with _client(options) as client:
        try:
            async with asyncio.timeout(_USABLE_WITHIN):
                found = await _partitions(client, topic)
                if found is None and external:
                    raise ChannelUnavailable(
                        f"{at(options)} has no topic '{topic}', and an external topic is not "
                        "created: create it, or correct its name"
                    )
                if found is None:
                    await _create(client, topic, partitions, replication_factor, config)
                while not found:
                    await asyncio.sleep(_LOOKS_EVERY)
                    found = await _partitions(client, topic)
                return found
        except TopicAuthorizationFailedError as error:
            raise ChannelUnavailable(
                f"{at(options)} does not let {who(options)} use the topic '{topic}': it takes ACLs "
                "that allow Create, Describe, Read and Write"
            ) from error
        except TimeoutError as error:
            raise ChannelUnavailable(
                f"{at(options)}: the topic '{topic}' has not become usable within "
                f"{_USABLE_WITHIN:.0f} s: partitions of it have no leader"
            ) from error
        except KafkaError as error:
            raise ChannelUnavailable(
                f"{at(options)} does not create the topic '{topic}': {said(error)}"
            ) from error


@asynccontextmanager
async def _client(options: ClientOptions) -> AsyncIterator[Any]:
    await check_reachable(options)
    client = AIOKafkaClient(
        **options, request_timeout_ms=round(ANSWER_WITHIN.total_seconds() * 1e3)
    )
    try:
        await client.bootstrap()
        yield client
    except KafkaError as error:
        raise ChannelUnavailable(f"{at(options)}: {said(error)}") from error
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await client.close()


async def _partitions(client: Any, topic: str) -> int | None:  # noqa: ANN401 - aiokafka has no types
    """Return how many partitions the topic has, 0 where one has no leader, None without topic."""
    request = MetadataRequest([topic], allow_auto_topic_creation=False)
    metadata = await client.send(client.get_random_node(), request)
    ((code, _, _, partitions),) = metadata.topics
    error = for_code(code)
    if error is UnknownTopicOrPartitionError:
        return None
    if error is LeaderNotAvailableError:
        return 0
    if error is not NoError:
        raise error
    led = [leader for _, _, leader, *_ in partitions if leader != -1]
    return len(led) if len(led) == len(partitions) else 0


async def _create(
    client: Any,  # noqa: ANN401
    topic: str,
    partitions: int,
    replication_factor: int,
    config: Mapping[str, str],
) -> None:
    request = CreateTopicsRequest(
        [(topic, partitions, replication_factor, [], list(config.items()))],
        timeout=round(ANSWER_WITHIN.total_seconds() * 1000),
        validate_only=False,
    )
    while True:
        answer = await client.send(client.cluster.controller.nodeId, request)
        ((_, code, message),) = answer.topic_errors
        error = for_code(code)
        if error in (NoError, TopicAlreadyExistsError):
            return
        if error is not NotControllerError:
            raise error(message)
        await client.force_metadata_update()
        await asyncio.sleep(_LOOKS_EVERY)
