"""Topics: there when they are needed, as a broker's ConfigMap wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    InvalidPartitionsError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    NotControllerError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import CreatePartitionsRequest, CreateTopicsRequest
from aiokafka.protocol.metadata import MetadataRequest

from broker.channels.kafka.connecting import ANSWER_WITHIN, at, check_reachable, said, who
from broker.channels.kafka.settings import ClientOptions
from broker.errors import ChannelUnavailable

_USABLE_WITHIN: Final = 10.0
_LOOKS_EVERY: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic that is wanted: made if there is none, unless it is ``external``."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str] = field(default_factory=dict)
    external: bool = False


async def ensure_topic(
    options: ClientOptions,
    topic: str,
    *,
    partitions: int,
    replication_factor: int,
    config: Mapping[str, str],
    external: bool = False,
) -> int:
    """Return how many partitions the topic has: `ensure_topics` for one."""
    wanted = Topic(
        name=topic,
        partitions=partitions,
        replication_factor=replication_factor,
        config=config,
        external=external,
    )
    return (await ensure_topics(options, [wanted]))[topic]


async def ensure_topics(options: ClientOptions, wanted: Sequence[Topic]) -> Mapping[str, int]:
    """Return topic → number of partitions, once all partitions of all of them have a leader.

    They are created where there are none. What is there is left as it is, whatever it is like.
    Raises `ChannelUnavailable` with what Kafka said.
    """
    async with _client(options) as client:
        names = [each.name for each in wanted]
        found: Mapping[str, int | None] = {}
        try:
            async with asyncio.timeout(_USABLE_WITHIN):
                found = await _partitions(client, names)
                missing = [each for each in wanted if found[each.name] is None]
                for each in missing:
                    if each.external:
                        raise ChannelUnavailable(
                            f"{at(options)} has no topic '{each.name}', and an external topic is "
                            "not created: create it, or correct its name"
                        )
                if missing:
                    await _create(client, missing)
                while not all(found.values()):
                    await asyncio.sleep(_LOOKS_EVERY)
                    found = await _partitions(client, names)
        except _Refused as refusal:
            raise ChannelUnavailable(_why(options, refusal.topic, refusal.error)) from refusal.error
        except TimeoutError as error:
            late = next((name for name in names if not found.get(name)), names[0])
            raise ChannelUnavailable(
                f"{at(options)}: the topic '{late}' has not become usable within "
                f"{_USABLE_WITHIN:.0f} s: partitions of it have no leader"
            ) from error
        except KafkaError as error:
            raise ChannelUnavailable(_why(options, names[0], error)) from error
        return {name: partitions for name, partitions in found.items() if partitions}


async def grow_topics(options: ClientOptions, topics: Collection[str], partitions: int) -> None:
    """Return once these topics have so many partitions, which is more than they had.

    Raises `ChannelUnavailable` with what Kafka said.
    """
    async with _client(options) as client:
        request = CreatePartitionsRequest(
            [(topic, (partitions, None)) for topic in topics],
            timeout=round(ANSWER_WITHIN.total_seconds() * 1000),
            validate_only=False,
        )
        answer = await client.send(client.cluster.controller.nodeId, request)
        for topic, code, message in answer.topic_errors:
            error = for_code(code)
            # InvalidPartitions: another process was first.
            if error not in (NoError, InvalidPartitionsError):
                raise ChannelUnavailable(
                    f"{at(options)} adds no partitions to the topic '{topic}': "
                    f"{said(error(message))}"
                )


class _Refused(Exception):
    """What Kafka has against one topic."""

    def __init__(self, topic: str, error: KafkaError) -> None:
        super().__init__(topic)
        self.topic = topic
        self.error = error


def _why(options: ClientOptions, topic: str, error: KafkaError) -> str:
    if isinstance(error, TopicAuthorizationFailedError):
        return (
            f"{at(options)} does not let {who(options)} use the topic '{topic}': it takes ACLs "
            "that allow Create, Describe, Read and Write"
        )
    return f"{at(options)} does not create the topic '{topic}': {said(error)}"


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


async def _partitions(client: Any, topics: Sequence[str]) -> Mapping[str, int | None]:  # noqa: ANN401 - aiokafka has no types
    """Return how many partitions each topic has, 0 where one has no leader, None without topic."""
    request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
    metadata = await client.send(client.get_random_node(), request)
    found: dict[str, int | None] = dict.fromkeys(topics)
    for code, topic, _, partitions in metadata.topics:
        error = for_code(code)
        if error is UnknownTopicOrPartitionError:
            continue
        if error not in (NoError, LeaderNotAvailableError):
            raise _Refused(topic, error())
        led = all(leader != -1 for _, _, leader, *_ in partitions)
        found[topic] = len(partitions) if led and error is NoError else 0
    return found


async def _create(client: Any, topics: Sequence[Topic]) -> None:  # noqa: ANN401 - aiokafka has no types
    wanted = {each.name: each for each in topics}
    while wanted:
        request = CreateTopicsRequest(
            [
                (each.name, each.partitions, each.replication_factor, [], [*each.config.items()])
                for each in wanted.values()
            ],
            timeout=round(ANSWER_WITHIN.total_seconds() * 1000),
            validate_only=False,
        )
        answer = await client.send(client.cluster.controller.nodeId, request)
        for topic, code, message in answer.topic_errors:
            error = for_code(code)
            if error in (NoError, TopicAlreadyExistsError):
                del wanted[topic]
            elif error is not NotControllerError:
                raise _Refused(topic, error(message))
        if wanted:
            await client.force_metadata_update()
            await asyncio.sleep(_LOOKS_EVERY)
