"""Following what is appended to a broker's topic, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from broker.channels.kafka import reader
from broker.channels.kafka.connecting import open_client
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.tailing import LOOKS_EVERY, Tailing
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import Record, encode
from broker.errors import ChannelUnavailable
from broker.event import Event
from tests.contract.kafka import add_partitions
from tests.services.relay import Relay

SOON = 30.0

PARTITIONS = 3


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


def event(id: str) -> Record:
    return encode(Event({"specversion": "1.0", "id": id, "source": "/", "type": "order"}, b"{}"))


async def new_topic(address: str) -> str:
    topic = f"tailing-{uuid4()}"
    await ensure_topic(
        options(address), topic, partitions=PARTITIONS, replication_factor=1, config={}
    )
    return topic


class Appending:
    """Another process, which appends to one partition after the other."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._turn = 0

    async def __call__(self, *records: Record, partition: int | None = None) -> None:
        sent = []
        for record in records:
            self._turn += 1
            to = self._turn % PARTITIONS if partition is None else partition
            sent.append(
                await self._producer.send(
                    self._topic, record.value, headers=record.headers, partition=to
                )
            )
        for each in sent:
            await each


@asynccontextmanager
async def appending(address: str, topic: str) -> AsyncIterator[Appending]:
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        yield Appending(producer, topic)


@asynccontextmanager
async def tailing(
    address: str, topic: str, *, through: str | None = None, looks_every: timedelta = LOOKS_EVERY
) -> AsyncIterator[Tailing]:
    """Yield what follows the topic, through a relay if one is given."""
    async with (
        Offsets(options(address)) as offsets,
        Tailing(options(through or address), topic, offsets, looks_every=looks_every) as opened,
    ):
        yield opened


async def seen(events: AsyncIterator[Event], count: int) -> Sequence[str]:
    """Return the ids of the next events."""
    async with asyncio.timeout(SOON):
        return [(await anext(events)).id for _ in range(count)]


async def test_what_is_appended_from_now_on_is_seen_whoever_appends_it(kafka: str) -> None:
    topic = await new_topic(kafka)
    async with appending(kafka, topic) as append, tailing(kafka, topic) as opened:
        await append(*map(event, "abc"))

        async with opened.tail() as events:
            await append(*map(event, "123456"))

            assert sorted(await seen(events, 6)) == [*"123456"]

        await append(event("meanwhile"))
        async with opened.tail() as events:
            await append(event("7"))

            assert await seen(events, 1) == ["7"]


async def test_many_who_follow_share_a_client_that_is_closed_when_nobody_does(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_clients: list[AIOKafkaClient] = []

    async def counted(*args: object, **kwargs: object) -> AIOKafkaClient:
        client = await open_client(*args, **kwargs)  # type: ignore[arg-type]
        opened_clients.append(client)
        return client

    monkeypatch.setattr(reader, "open_client", counted)
    topic = await new_topic(kafka)
    async with appending(kafka, topic) as append, tailing(kafka, topic) as opened:
        async with opened.tail() as one:
            async with opened.tail() as other, opened.tail() as third:
                await append(event("1"))
                assert [await seen(each, 1) for each in (one, other, third)] == [["1"]] * 3
            await append(event("2"))
            assert await seen(one, 1) == ["2"]

        [client] = opened_clients
        async with asyncio.timeout(SOON):
            while any(connection.connected() for connection in client._conns.values()):
                await asyncio.sleep(0)


async def test_nobody_is_shown_what_came_before_they_followed_however_late_it_is_read(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka)
    async with (
        appending(kafka, topic) as append,
        tailing(kafka, topic, through=kafka_relay.address) as opened,
        opened.tail() as one,
    ):
        await append(event("1"))
        assert await seen(one, 1) == ["1"]
        with kafka_relay.hung():
            await append(event("2"), partition=0)
            follows = opened.tail()
            other = await follows.__aenter__()
            await append(event("3"), partition=0)

        assert await seen(one, 2) == ["2", "3"]
        assert await seen(other, 1) == ["3"]
        await follows.__aexit__(None, None, None)


async def test_an_observer_that_is_slow_misses_events_and_goes_on(kafka: str) -> None:
    topic = await new_topic(kafka)
    async with (
        appending(kafka, topic) as append,
        tailing(kafka, topic) as opened,
        opened.tail() as slow,
        opened.tail() as quick,
    ):
        for hundreds in range(15):
            await append(*(event(f"{hundreds}/{n}") for n in range(100)), partition=0)
            await seen(quick, 100)

        first = await seen(slow, 1_000)
        await append(event("next"))

        assert first == [f"{hundreds}/{n}" for hundreds in range(10) for n in range(100)]
        assert await seen(slow, 1) == ["next"]


async def test_what_is_no_cloudevent_is_passed_over(kafka: str) -> None:
    topic = await new_topic(kafka)
    foreign = Record(key=None, value=b"no event", headers=[("x", b"y")])
    async with (
        appending(kafka, topic) as append,
        tailing(kafka, topic) as opened,
        opened.tail() as events,
    ):
        await append(foreign, event("1"), foreign, event("2"), partition=0)

        assert await seen(events, 2) == ["1", "2"]


async def test_an_outage_is_sat_out_and_nothing_is_missed_or_seen_twice(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka)
    async with (
        appending(kafka, topic) as append,
        tailing(kafka, topic, through=kafka_relay.address) as opened,
        opened.tail() as events,
    ):
        await append(event("1"), partition=0)
        assert await seen(events, 1) == ["1"]
        with kafka_relay.cut():
            await append(*map(event, "23"), partition=0)
        await append(event("4"), partition=0)

        assert await seen(events, 3) == ["2", "3", "4"]


async def test_an_outage_at_the_beginning_is_sat_out_as_well(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka)
    async with (
        appending(kafka, topic) as append,
        tailing(kafka, topic, through=kafka_relay.address) as opened,
    ):
        with kafka_relay.cut():
            follows = opened.tail()
            events = await follows.__aenter__()
            await append(event("1"))

        assert await seen(events, 1) == ["1"]
        await follows.__aexit__(None, None, None)


async def test_where_the_ends_cannot_be_known_nobody_follows(kafka_relay: Relay) -> None:
    async with tailing(kafka_relay.address, "any") as opened:
        with kafka_relay.cut(), pytest.raises(ChannelUnavailable):
            async with opened.tail():
                pass


async def test_a_partition_that_is_added_is_noticed_and_read_from_its_beginning(
    kafka: str,
) -> None:
    topic = await new_topic(kafka)
    async with (
        tailing(kafka, topic, looks_every=timedelta(seconds=0.1)) as opened,
        opened.tail() as events,
    ):
        await add_partitions(kafka, topic, total=PARTITIONS + 1)
        async with appending(kafka, topic) as append:
            await append(event("1"), partition=PARTITIONS)

            assert await seen(events, 1) == ["1"]


async def test_an_outage_while_it_is_looked_for_partitions_is_sat_out(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka)
    often = timedelta(seconds=0.05)
    async with (
        Failing(options(kafka_relay.address)) as offsets,
        Tailing(options(kafka), topic, offsets, looks_every=often) as opened,
        opened.tail() as events,
    ):
        with kafka_relay.cut():
            await offsets.failed.wait()
        await add_partitions(kafka, topic, total=PARTITIONS + 1)
        async with appending(kafka, topic) as append:
            await append(event("1"), partition=PARTITIONS)

        assert await seen(events, 1) == ["1"]


class Failing(Offsets):
    """Tells when it was not answered."""

    def __init__(self, options: ClientOptions) -> None:
        super().__init__(options)
        self.failed = asyncio.Event()

    async def ends(self, topic: str) -> Mapping[int, int]:
        try:
            return await super().ends(topic)
        except ChannelUnavailable:
            self.failed.set()
            raise


async def test_whoever_comes_later_knows_the_partitions_of_that_time(kafka: str) -> None:
    topic = await new_topic(kafka)
    async with (
        tailing(kafka, topic, looks_every=timedelta(hours=1)) as opened,
        opened.tail() as one,
    ):
        async with appending(kafka, topic) as append:
            await append(event("0"), partition=0)
            assert await seen(one, 1) == ["0"]
        await add_partitions(kafka, topic, total=PARTITIONS + 1)
        async with appending(kafka, topic) as append:
            await append(event("1"), partition=PARTITIONS)
            async with opened.tail() as other:
                await append(event("2"), partition=PARTITIONS)

                assert await seen(other, 1) == ["2"]
        assert await seen(one, 2) == ["1", "2"]


async def test_closing_does_not_wait_for_a_kafka_that_does_not_answer(
    kafka: str, kafka_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PATIENCE", timedelta(hours=1))  # with what it has asked
    topic = await new_topic(kafka)
    async with (
        appending(kafka, topic) as append,
        tailing(kafka, topic, through=kafka_relay.address) as opened,
    ):
        follows = opened.tail()
        events = await follows.__aenter__()
        await append(event("1"))
        await seen(events, 1)
        with kafka_relay.hung():
            async with asyncio.timeout(SOON):
                await follows.__aexit__(None, None, None)
                await opened.__aexit__(None, None, None)
