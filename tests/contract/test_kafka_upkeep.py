"""What the mesh tells others by the offsets of its group, and removes of what has come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from broker.channels.kafka import upkeep
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.settings import Settings
from broker.ports import Channel
from tests.contract.kafka import SOON, new_broker, opened, topic_of
from tests.contract.test_channel import Reader, events, reading

ONE = {"default.topic.partitions": "1", "default.topic.replication.factor": "1"}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_COMMITS_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(upkeep, "_REMOVES_EVERY", timedelta(seconds=0.1))


@asynccontextmanager
async def offsets(address: str) -> AsyncIterator[Offsets]:
    settings = Settings(bootstrap_servers=(address,), topic="any", base="any", group="any")
    async with Offsets(settings.client_options()) as found:
        yield found


async def committed(address: str, broker: str) -> int:
    """Return the offset that the group of the broker's dispatchers stands at."""
    group = f"knative-trigger-{broker.replace('/', '-')}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    at = found.get(TopicPartition(topic_of(broker), 0))
    return -1 if at is None else int(at.offset)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await holds():
            await asyncio.sleep(0.05)


async def begun(channel: Channel, reader: Reader) -> None:
    """Let four events be claimed, of which the second is not settled."""
    await channel.append(events(4))
    claims = await reader.take(4)
    await reader.settle(claims[0], *claims[2:])


async def test_the_group_stands_before_what_is_not_settled_yet(kafka: str) -> None:
    broker = new_broker()
    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        await begun(channel, reader)

        await until(lambda: _is(committed(kafka, broker), 1))


async def test_the_group_waits_for_no_trigger_that_does_not_keep_up(kafka: str) -> None:
    broker = new_broker()
    async with (
        opened(kafka, broker, ONE) as channel,
        reading(channel, "default/stuck", window=1),
        reading(channel, "default/good", window=2_000) as good,
    ):
        await channel.append(events(1_500))
        await good.settle(*await good.take(1_500))

        await until(lambda: _is(committed(kafka, broker), 1_500))


async def test_what_has_come_back_is_removed_once_it_is_done_with(kafka: str) -> None:
    broker = new_broker()
    delays = f"{topic_of(broker)}-delay-250ms"
    async with (
        offsets(kafka) as found,
        opened(kafka, broker, ONE) as channel,
        reading(channel) as reader,
    ):
        await channel.append(events(3))
        for claim in await reader.take(3):
            reader.cursor.defer(claim, timedelta(milliseconds=10), attempts=1, condemned=None)
        first, second, third = await reader.take(3)
        await reader.settle(first, third)

        await until(lambda: _is(found.beginnings(delays), {0: 1}))
        await reader.settle(second)
        await until(lambda: _is(found.beginnings(delays), {0: 3}))


async def test_what_waits_is_not_removed(kafka: str) -> None:
    broker = new_broker()
    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        await channel.append(events(2))
        soon, late = await reader.take(2)
        reader.cursor.defer(late, timedelta(seconds=1), attempts=1, condemned=None)
        reader.cursor.defer(soon, timedelta(milliseconds=10), attempts=1, condemned=None)
        await reader.settle(await reader.claim())

    async with opened(kafka, broker, ONE) as channel, reading(channel) as reader:
        assert (await reader.claim()).event.id == late.event.id


async def test_a_cancellation_that_a_client_loses_keeps_nobody_from_stopping(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    removing = asyncio.Event()

    async def lose_it(*_: object) -> bool:
        if not removing.is_set():
            removing.set()
            with suppress(asyncio.CancelledError):  # as aiokafka does while it closes a client
                await asyncio.Event().wait()
        return False

    monkeypatch.setattr(upkeep, "_remove", lose_it)
    async with (
        asyncio.timeout(SOON),
        opened(kafka, new_broker(), ONE) as channel,
        reading(channel) as reader,
    ):
        await channel.append(events(1))
        claim = await reader.claim()
        reader.cursor.defer(claim, timedelta(milliseconds=10), attempts=1, condemned=None)
        await reader.settle(await reader.claim())
        await removing.wait()


async def _is(question: Awaitable[object], answer: object) -> bool:
    return await question == answer
