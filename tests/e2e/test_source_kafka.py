"""A KafkaSource in a real mesh: killed amid its records, it loses none and keeps their order."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Request, Subscriber

RECORDS, PARTITIONS = 2_000, 3

pytestmark = pytest.mark.timeout(90)


def kafka_source(kafka: str, topic: str) -> str:
    return json.dumps(
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "KafkaSource",
            "metadata": {"name": "orders"},
            "spec": {
                "bootstrapServers": [kafka],
                "topics": [topic],
                "consumerGroup": topic,
                "initialOffset": "earliest",
                "sink": {"uri": "broker://default/default"},
            },
        }
    )


async def new_topic(kafka: str) -> str:
    name = f"e2e-source-{uuid.uuid4()}"
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    await client.create_topics([NewTopic(name, PARTITIONS, 1)])
    await client.close()
    return name


async def produce(kafka: str, topic: str) -> None:
    """Produce all records, one partition after the other in turn, for about three seconds."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5) as producer:
        for number in range(RECORDS):
            sent = await producer.send(topic, b"%d" % number, partition=number % PARTITIONS)
            if number % 20 == 19:
                await sent
                await asyncio.sleep(0.02)
        await producer.flush()


def numbers(requests: Sequence[Request]) -> set[int]:
    return {int(each.body) for each in requests}


async def test_killed_amid_the_records_the_mesh_emits_all_of_them_in_the_order_of_each_partition(
    running_mesh: Callable[..., RunningMesh], kafka: str
) -> None:
    topic = await new_topic(kafka)
    async with Subscriber() as subscriber:
        to = trigger("orders", subscriber.url("/"), pauses=False, ordered=True, parallelism=1)
        text = manifest(broker(), steady(), kafka_source(kafka, topic), to)
        async with running_mesh(text) as mesh:
            producing = asyncio.create_task(produce(kafka, topic))
            await subscriber.received_at("/", 300, within=20)
            await mesh.kill9()
            before = numbers(subscriber.received)
            await mesh.start()
            await producing
            async with asyncio.timeout(40):
                while len(numbers(subscriber.received)) < RECORDS:
                    await asyncio.sleep(0.1)
            status = await mesh.status()

    received = list(subscriber.received)
    ids: dict[int, set[str | None]] = defaultdict(set)
    firsts: dict[int, list[int]] = defaultdict(list)
    for number, each in ((int(each.body), each) for each in received):
        if number not in ids:
            firsts[number % PARTITIONS].append(number)
        ids[number].add(each.header("ce-id"))
    assert before < numbers(received) == set(range(RECORDS))
    assert all(
        found == {f"partition:{number % PARTITIONS}/offset:{number // PARTITIONS}"}
        for number, found in ids.items()
    )
    assert all(each == sorted(each) for each in firsts.values())
    [source] = status.sources
    assert (source.kind, source.name, source.state) == ("KafkaSource", "default/orders", "running")
