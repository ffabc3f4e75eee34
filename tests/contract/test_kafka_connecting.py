"""What is opened on Kafka can be given up, and closed, at any moment."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import TopicPartition

from broker.channels.kafka.compacted import close_consumer, open_consumer
from broker.channels.kafka.connecting import open_producer
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.connections.kafka import close_producer
from tests.contract.kafka import SOON

MOMENTS = [milliseconds / 1000 for milliseconds in range(30)]
"""Seconds after which opening is given up; left alone, it takes 10 ms or so."""


async def a_producer(options: ClientOptions) -> None:
    await close_producer(await open_producer(options, []), grace=timedelta(0))


async def a_consumer(options: ClientOptions) -> None:
    await close_consumer(await open_consumer(options))


def options_for(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


@pytest.mark.parametrize("used", [a_producer, a_consumer])
async def test_what_is_given_up_while_it_opens_leaves_no_connection(
    kafka: str, used: Callable[[ClientOptions], Coroutine[Any, Any, None]]
) -> None:
    options = options_for(kafka)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for moment in MOMENTS:
            using = asyncio.create_task(used(options))
            await asyncio.sleep(moment)
            using.cancel()
            await asyncio.wait([using], timeout=SOON)
        gc.collect()

    assert [str(each.message) for each in told] == []


async def test_a_consumer_is_closed_also_while_it_lets_go_of_its_partitions(kafka: str) -> None:
    options, topic = options_for(kafka), f"connecting-{uuid4()}"
    await ensure_topic(options, topic, partitions=1, replication_factor=1, config={})
    consumer = await open_consumer(options)
    consumer.assign([TopicPartition(topic, 0)])
    fetches = consumer._fetcher._pending_tasks

    async with asyncio.timeout(SOON):
        while not fetches:
            await asyncio.sleep(0)
        consumer.assign([])
        while not any(each.cancelling() for each in fetches):
            await asyncio.sleep(0)
        await close_consumer(consumer)
