"""aiokafka, bare and in our channel, once: `python -m bench.kafka_client HOST:PORT` prints JSON.

For each way, the µs that an event takes, of time and of this process's processor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from uuid import uuid4

import uvloop
from aiokafka import AIOKafkaConsumer

from bench.kafka_producer import EVENTS, PARTITIONS, append, bare, started, taken
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic


async def getmany(options: ClientOptions, topic: str) -> tuple[float, float]:
    """Measure taking all that is in the topic, with a commit for each batch."""
    async with AIOKafkaConsumer(
        topic,
        **options,
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        left = EVENTS
        await consumer.getmany(timeout_ms=10_000, max_records=1)
        clock = started()
        left -= 1
        while left > 0:
            batches = await consumer.getmany(timeout_ms=10_000, max_records=1_000)
            left -= sum(len(records) for records in batches.values())
            await consumer.commit()
        return taken(clock)


async def measure(address: str) -> Mapping[str, tuple[float, float]]:
    """Return what each way takes."""
    defaults = from_url(f"kafka://{address}")
    options = settings("default/bench", {}, {}, defaults=defaults).client_options()
    topic = f"bench-{uuid4()}"
    await ensure_topic(
        options,
        topic,
        partitions=PARTITIONS,
        replication_factor=1,
        config={"retention.ms": "600000"},
    )
    return {
        "create_batch": await bare(options, topic),
        "getmany": await getmany(options, topic),
        "append": await append(options, topic),
    }


if __name__ == "__main__":
    json.dump(uvloop.run(measure(sys.argv[1])), sys.stdout)
