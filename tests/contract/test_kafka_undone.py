"""What the mesh tells of what is not done, by the offsets of a group that nobody is in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupCoordinatorNotAvailableError

from broker.channels.kafka import undone
from tests.contract.kafka import SOON, admin_of, new_broker, opened
from tests.contract.test_channel import events, reading

ONE = {"default.topic.partitions": "1", "default.topic.replication.factor": "1"}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undone, "_TELLS_EVERY", timedelta(seconds=0.1))


async def lag(address: str, broker: str) -> int | None:
    """Return how far the group is behind in all topics that it knows; None if it knows none."""
    async with admin_of(address) as admin:
        group = f"knative-trigger-{broker.replace('/', '-')}/undone"
        try:
            committed = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # a new server: nobody has asked for one before
            return None
    if len(committed) < 8:  # the topic of events, and seven of delays
        return None
    consumer = AIOKafkaConsumer(bootstrap_servers=address)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([*committed])
    finally:
        await consumer.stop()
    return sum(int(end) - int(committed[each].offset) for each, end in ends.items())


async def until(address: str, broker: str, wanted: int) -> None:
    seen = None
    try:
        async with asyncio.timeout(SOON):
            while (seen := await lag(address, broker)) != wanted:
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        late.add_note(f"it was {seen} at last")
        raise


async def test_what_is_in_hand_put_off_or_left_behind_is_undone(kafka: str) -> None:
    broker = new_broker()
    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        await until(kafka, broker, 0)
        await channel.append(events(3))
        first, second, third = await reader.take(3)
        await until(kafka, broker, 3)
        await reader.settle(second, third)
        await until(kafka, broker, 3)
        reader.cursor.defer(first, timedelta(minutes=10), attempts=1, condemned=None)
        await until(kafka, broker, 1)

    assert await lag(kafka, broker) == 1, "also while nobody runs"


async def test_what_has_come_back_and_is_done_with_is_not(kafka: str) -> None:
    broker = new_broker()
    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        await channel.append(events(1))
        claim = await reader.claim()
        reader.cursor.defer(claim, timedelta(milliseconds=10), attempts=1, condemned=None)
        again = await reader.claim()
        await until(kafka, broker, 1)
        await reader.settle(again)
        await until(kafka, broker, 0)


async def test_a_trigger_that_does_not_keep_up_counts_and_one_that_is_gone_does_not(
    kafka: str,
) -> None:
    broker = new_broker()
    async with (
        opened(kafka, broker, ONE) as channel,
        reading(channel, "default/good", window=2_000) as good,
    ):
        async with reading(channel, "default/stuck", window=1):
            await channel.append(events(1_500))
            await good.settle(*await good.take(1_500))
            await until(kafka, broker, 1_500)
        await channel.unsubscribe("default/stuck")
        await until(kafka, broker, 0)


async def test_it_is_told_anew_by_whoever_comes_next(kafka: str) -> None:
    broker = new_broker()
    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        await until(kafka, broker, 0)
    async with opened(kafka, broker, ONE) as channel:  # as an ingress has it
        await channel.append(events(2))
        await until(kafka, broker, 2)
    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        await reader.settle(*await reader.take(2))
        await until(kafka, broker, 0)
