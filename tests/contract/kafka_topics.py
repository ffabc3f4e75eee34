"""A topic of Kafka as others see it: made, and read from its beginning; and a KafkaSink into it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from broker.codecs.kafka import decode
from broker.event import Event
from sinks.kafka import KafkaSink, KafkaSinkSpec
from tests.services.relay import Relay


@asynccontextmanager
async def admin(kafka: str) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def new_topic(kafka: str, *, partitions: int = 3, **config: str) -> str:
    """Return the name of a topic that nobody else has."""
    name = f"sink-{uuid.uuid4()}"
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
    return name


async def records(kafka: str, topic: str, count: int) -> Sequence[Any]:
    """Return what is in the topic, partition by partition, once there are so many records."""
    found: list[Any] = []
    async with (
        AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as reader,
        asyncio.timeout(30),
    ):
        while len(found) < count:
            for several in (await reader.getmany(timeout_ms=200)).values():
                found += several
    return sorted(found, key=lambda each: (each.partition, each.offset))


class TopicOfKafka:
    """A topic that events are stored in, on a way that can be cut."""

    def __init__(self, kafka: str, relay: Relay, topic: str) -> None:
        self._kafka, self._relay, self._topic = kafka, relay, topic
        self.sink: object = KafkaSink
        self.spec: object = KafkaSinkSpec.model_validate(
            {"bootstrapServers": [relay.address], "topic": topic}
        )

    async def arrived(self, count: int) -> Sequence[Event]:
        found = await records(self._kafka, self._topic, count)
        return [decode(each.headers, each.value)[0] for each in found]

    @contextmanager
    def outage(self) -> Iterator[None]:
        with self._relay.cut():
            yield
