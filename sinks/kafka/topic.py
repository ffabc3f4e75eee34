"""The topic of a sink: there before anything is sent, or made as the ``spec`` says."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    NotControllerError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.metadata import MetadataRequest

from broker.connections.kafka import ANSWERS_WITHIN
from sinks.kafka.spec import KafkaSinkSpec

_LOOKS_EVERY: Final = 0.05


async def ensure_topic(client: Any, spec: KafkaSinkSpec) -> None:  # noqa: ANN401 - aiokafka has no types
    """Return once all partitions have a leader. Raises `KafkaError` with what Kafka has against it.

    A topic that is there is left as it is. Without partitions in the ``spec`` it is Kafka's to
    make a missing one, and where it does not, this raises `UnknownTopicOrPartitionError`.
    """
    while True:
        if await _is_led(client, spec):
            return
        await asyncio.sleep(_LOOKS_EVERY)


async def _is_led(client: Any, spec: KafkaSinkSpec) -> bool:  # noqa: ANN401 - aiokafka has no types
    is_ours = spec.num_partitions is not None
    request = MetadataRequest([spec.topic], allow_auto_topic_creation=not is_ours)
    metadata = await client.send(client.get_random_node(), request)
    [(code, _, _, partitions)] = metadata.topics
    error = for_code(code)
    if error is UnknownTopicOrPartitionError and is_ours:
        await _create(client, spec)
        return False
    if error not in (NoError, LeaderNotAvailableError):
        raise error(spec.topic)
    return error is NoError and all(leader != -1 for _, _, leader, *_ in partitions)


async def _create(client: Any, spec: KafkaSinkSpec) -> None:  # noqa: ANN401 - aiokafka has no types
    request = CreateTopicsRequest(
        [(spec.topic, spec.num_partitions, spec.replication_factor, [], [])],
        timeout=ANSWERS_WITHIN // timedelta(milliseconds=1),
        validate_only=False,
    )
    answer = await client.send(client.cluster.controller.nodeId, request)
    [(_, code, why)] = answer.topic_errors
    error = for_code(code)
    if error is NotControllerError:
        await client.force_metadata_update()
    elif error not in (NoError, TopicAlreadyExistsError):
        raise _NotMade(f"it does not make the topic '{spec.topic}': {why or error.description}")


class _NotMade(KafkaError):  # type: ignore[misc] # aiokafka has no types
    """Why Kafka made no topic, in words."""
