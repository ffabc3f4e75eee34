"""Several processes that dispatch for one broker on Kafka: who gets what, and who takes over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest

from broker.channels.kafka import holding, leaving
from broker.channels.kafka.cursor import PutOff
from broker.channels.kafka.delays import Delays
from broker.errors import ChannelUnavailable
from broker.filters import EVERYTHING
from broker.ports import Channel, Cursor, Outcome, Pause
from tests.contract.kafka import SOON, TOPIC, admin_of, new_broker, opened
from tests.contract.test_channel import TRIGGER, events, numbers, reading
from tests.services.relay import Relay

A_WHILE = 0.5
"""Seconds in which something that must not happen would have happened."""


class Worker:
    """A dispatcher that settles whatever it is given."""

    def __init__(self, channel: Channel, cursor: Cursor) -> None:
        self.channel = channel
        self.settled: list[str] = []
        self._cursor = cursor

    async def work(self) -> None:
        async for claim in self._cursor.claims():
            self._cursor.settle(claim, Outcome.DELIVERED)
            self.settled.append(claim.event.id)


@asynccontextmanager
async def working(address: str, broker: str) -> AsyncIterator[Worker]:
    """Run a process of its own, as far as Kafka can tell."""
    async with (
        opened(address, broker) as channel,
        channel.subscribe(TRIGGER, filter=EVERYTHING, window=20) as cursor,
    ):
        worker = Worker(channel, cursor)
        work = asyncio.create_task(worker.work())
        try:
            yield worker
        finally:
            work.cancel()
            await asyncio.wait([work])


async def append_each(channel: Channel, count: int, start: int = 0) -> None:
    """Append so many events, spread over the partitions."""
    for each in events(count, start):
        await channel.append([each])


async def append_until_all_work(*workers: Worker, start: int = 0) -> int:
    """Append until each of them has settled more; return the number behind the last event."""
    before = [len(worker.settled) for worker in workers]
    end = start
    async with asyncio.timeout(SOON):
        while any(len(each.settled) == had for each, had in zip(workers, before, strict=True)):
            await append_each(workers[0].channel, 3, end)
            end += 3
            await asyncio.sleep(0.05)
    await until_settled(numbers(end - start, start), *workers)
    return end


async def until_settled(ids: Sequence[str], *workers: Worker) -> None:
    async with asyncio.timeout(SOON):
        while not set(ids) <= set(counts(*workers)):
            await asyncio.sleep(0.05)


def counts(*workers: Worker) -> Counter[str]:
    return Counter(chain(*(worker.settled for worker in workers)))


async def until_balanced(count: int, *channels: Channel) -> None:
    """Return once the books of all say that so many events matched and were delivered."""
    async with asyncio.timeout(SOON):
        while True:
            books = [(await channel.books())[TRIGGER] for channel in channels]
            matched = sum(each.matched for each in books)
            delivered = sum(each.delivered for each in books)
            if (matched, delivered) == (count, count):
                break
            await asyncio.sleep(0.05)
    assert sum(each.waiting for each in books) == 0


async def test_processes_share_the_partitions_and_each_event_is_claimed_by_one(
    kafka: str,
) -> None:
    broker = new_broker()
    async with working(kafka, broker) as one, working(kafka, broker) as other:
        count = await append_until_all_work(one, other)
        one.settled.clear()
        other.settled.clear()

        await append_each(one.channel, 300, count)
        await until_settled(numbers(300, count), one, other)

        assert counts(one, other) == Counter(numbers(300, count))
        assert len(one.settled) > 50
        assert len(other.settled) > 50
        await until_balanced(count + 300, one.channel, other.channel)


async def test_what_one_process_pauses_and_resumes_is_known_to_the_others(kafka: str) -> None:
    pause, broker = Pause(why="a test", since=datetime.now(UTC)), new_broker()
    async with opened(kafka, broker) as one, opened(kafka, broker) as other, asyncio.timeout(SOON):
        await one.pauses.put(TRIGGER, pause)
        while await other.pauses.all() != {TRIGGER: pause}:
            await asyncio.sleep(0.05)

        await other.pauses.remove(TRIGGER)
        while await one.pauses.all():
            await asyncio.sleep(0.05)


async def test_what_a_process_has_out_when_another_joins_is_finished_where_it_is(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "_FREED_WITHIN", timedelta(minutes=1))
    monkeypatch.setattr(holding, "_TAKEN_AFTER", timedelta(minutes=1))
    broker = new_broker()
    async with opened(kafka, broker) as channel, reading(channel) as one:
        await append_each(channel, 30)
        claims = await one.take(30)
        async with working(kafka, broker) as other:
            await until_agreed(kafka, broker, members=2)
            await asyncio.sleep(A_WHILE)
            await one.settle(*claims)
            await append_until_claimed_by(other)

        assert set(other.settled).isdisjoint(numbers(30))


async def until_agreed(address: str, broker: str, *, members: int) -> None:
    """Return once the group of dispatchers has so many members, and they agree."""
    group = f"knative-trigger-{broker.replace('/', '-')}"
    async with admin_of(address) as admin, asyncio.timeout(SOON):
        while True:
            ((found,),) = [each.groups for each in await admin.describe_consumer_groups([group])]
            if found[2] == "Stable" and len(found[5]) == members:
                return
            await asyncio.sleep(0.02)


async def append_until_claimed_by(worker: Worker) -> None:
    start = 1_000
    async with asyncio.timeout(SOON):
        while not worker.settled:
            await append_each(worker.channel, 3, start)
            start += 3
            await asyncio.sleep(0.05)


async def test_what_a_process_had_that_leaves_goes_to_the_others_but_for_what_it_settled(
    kafka: str,
) -> None:
    broker = new_broker()
    async with working(kafka, broker) as stays:
        async with working(kafka, broker) as leaves:
            count = await append_until_all_work(stays, leaves)
            await append_each(stays.channel, 60, count)
            stays.settled.clear()
        await append_each(stays.channel, 30, count + 60)
        await until_settled(numbers(30, count + 60), stays)

        assert set(leaves.settled).isdisjoint(stays.settled)
        await until_balanced(count + 90, stays.channel)


@pytest.mark.timeout(120)
async def test_what_a_process_had_that_is_not_heard_of_any_more_goes_to_the_others(
    kafka: str, kafka_relay: Relay
) -> None:
    broker = new_broker()
    async with working(kafka, broker) as stays, working(kafka_relay.address, broker) as lost:
        count = await append_until_all_work(stays, lost)
        with kafka_relay.cut():
            await append_each(stays.channel, 60, count)
            await until_settled(numbers(60, count), stays)

        # It comes back, and what it still knows does no harm.
        count = await append_until_all_work(stays, lost, start=count + 60)
        await until_balanced(count, stays.channel, lost.channel)


@pytest.mark.timeout(120)
async def test_what_is_settled_by_a_process_that_others_have_given_up_changes_nothing(
    kafka: str, kafka_relay: Relay
) -> None:
    broker = new_broker()
    async with opened(kafka_relay.address, broker) as lost, reading(lost) as late:
        await lost.append(events(6))
        claims = await late.take(6)
        with kafka_relay.cut():
            async with working(kafka, broker) as takes_over:
                await until_settled(numbers(6), takes_over)
        await late.settle(*claims)

    async with opened(kafka, broker) as channel, reading(channel) as reader:
        await until_balanced(6, channel)
        assert await reader.nothing()


async def test_what_a_process_puts_off_again_while_it_leaves_comes_back_once(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_off: list[str] = []
    is_stored, put_all_off = asyncio.Event(), Delays.put_all_off

    async def answered_late(delays: Delays, deliveries: Sequence[PutOff]) -> None:
        await put_all_off(delays, deliveries)
        put_off.extend(each.event.id for each in deliveries)
        if len(put_off) == 2:
            is_stored.set()
            await asyncio.sleep(A_WHILE)

    monkeypatch.setattr(Delays, "put_all_off", answered_late)
    broker = new_broker()
    async with opened(kafka, broker) as leaves, reading(leaves) as reader:
        await leaves.append(events(1))
        (claim,) = await reader.take(1)
        reader.cursor.defer(claim, timedelta(seconds=0.3), attempts=1, condemned=None)
        async with asyncio.timeout(SOON):
            await is_stored.wait()

    async with opened(kafka, broker) as channel, reading(channel) as reader:
        await reader.settle(await reader.claim())

        assert len(put_off) == 2
        await until_balanced(1, channel)


async def test_what_kafka_has_stored_twice_hides_nothing_that_is_put_off_later(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, put_all_off = 0, Delays.put_all_off

    async def unanswered_at_first(delays: Delays, deliveries: Sequence[PutOff]) -> None:
        nonlocal stored
        await put_all_off(delays, deliveries)
        stored += 1
        if stored == 1:
            raise ChannelUnavailable("nobody has answered")

    monkeypatch.setattr(Delays, "put_all_off", unanswered_at_first)
    one = {**TOPIC, "default.topic.partitions": "1"}
    async with opened(kafka, new_broker(), one) as channel, reading(channel) as reader:
        await channel.append(events(1))
        reader.cursor.defer(await reader.claim(), timedelta(0), attempts=1, condemned=None)
        await reader.settle(*await reader.take(2))
        await until_balanced(2, channel)

        await channel.append(events(1, 1))
        later = timedelta(seconds=0.9)  # by the second of its steps, the first has been counted
        reader.cursor.defer(await reader.claim(), later, attempts=1, condemned=None)
        async with asyncio.timeout(SOON):
            while stored < 4:
                await asyncio.sleep(0.02)
            assert (await channel.books())[TRIGGER].waiting == 1
        await reader.settle(await reader.claim())
        await until_balanced(3, channel)
