"""Channels of brokers on a real Kafka, each as a process of its own would have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from broker.channels.kafka import KafkaBackend
from broker.ports import Channel
from tests.contract.harness import options

SOON = 30.0
"""Seconds within which whatever is to happen must have happened."""

TOLD_WITHIN = 25.0
"""Seconds after which nobody may be left without an answer.

We promise 5, of which a busy machine makes more. Kafka's clients would try for 40 by themselves.
"""

TOPIC = {"default.topic.partitions": "3", "default.topic.replication.factor": "1"}


def new_broker() -> str:
    """Return a broker whose topics nobody else has."""
    return f"default/{uuid4()}"


def topic_of(broker: str) -> str:
    return f"knative-broker-{broker.replace('/', '-')}"


async def add_partitions(address: str, topic: str, *, total: int) -> None:
    """Return once the topic has so many partitions, and each a leader that clients are told of."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(total_count=total)})
        async with asyncio.timeout(SOON):
            while await _led(admin, topic) < total:
                await asyncio.sleep(0.02)
    finally:
        await admin.close()


async def _led(admin: AIOKafkaAdminClient, topic: str) -> int:
    [told] = await admin.describe_topics([topic])
    return sum(each["error_code"] == 0 and each["leader"] >= 0 for each in told["partitions"])


@asynccontextmanager
async def opened(
    address: str,
    broker: str,
    config: Mapping[str, str] = TOPIC,
    secret: Mapping[str, str] | None = None,
) -> AsyncIterator[Channel]:
    """Run a process that has the broker's channel alone."""
    if secret is not None:
        config = {**config, "auth.secret.ref.name": "secret"}
    async with KafkaBackend.from_url(f"kafka://{address}", options(Path("unused"))) as backend:
        yield await backend.channel(broker, config, secret or {})


@asynccontextmanager
async def admin_of(address: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
