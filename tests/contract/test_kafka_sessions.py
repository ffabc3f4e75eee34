"""Fetches in a session, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import UnknownTopicOrPartitionError

from broker.channels.kafka.batches import records_in
from broker.channels.kafka.connecting import ANSWER_WITHIN, open_client
from broker.channels.kafka.sessions import Fetch, Fetched, FetchSession
from tests.contract.batches import event, new_topic, options, remove, write

WAIT = timedelta(seconds=2)
AT_ONCE = timedelta(0)


@pytest.fixture
async def client(kafka: str) -> AsyncIterator[AIOKafkaClient]:
    opened = await open_client(options(kafka), answers_within=ANSWER_WITHIN)
    yield opened
    await opened.close()


@pytest.fixture
def session(client: AIOKafkaClient) -> FetchSession:
    [server] = client.cluster.brokers()
    return FetchSession(client, server.nodeId, partition_bytes=1 << 20)


def offsets(found: Mapping[TopicPartition, Fetched]) -> Mapping[TopicPartition, list[int]]:
    """Return the offsets of the records that were found, where there are any."""
    records = {at: records_in(each.batches, at, each.begins)[0] for at, each in found.items()}
    return {at: [each.offset for each in here] for at, here in records.items() if here}


async def test_only_what_has_changed_is_asked_for_and_told(
    kafka: str, client: AIOKafkaClient, session: FetchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await new_topic(kafka, [event(0)]), await new_topic(kafka, [event(0)])
    assert offsets(await session.fetch({one: 0, other: 0}, WAIT)) == {one: [0], other: [0]}
    assert offsets(await session.fetch({one: 1, other: 1}, AT_ONCE)) == {}
    await write(kafka, other, [event(1)])
    asked: list[Fetch] = []
    send = client.send

    async def noted(node: int, request: Fetch) -> object:
        asked.append(request)
        return await send(node, request)

    monkeypatch.setattr(client, "send", noted)

    found = await session.fetch({one: 1, other: 1}, WAIT)

    assert (offsets(found), set(found)) == ({other: [1]}, {other})
    [request] = asked
    assert request.topics == []


async def test_what_was_not_read_on_from_is_found_again(kafka: str, session: FetchSession) -> None:
    partition = await new_topic(kafka, [event(0), event(1)])

    found = [offsets(await session.fetch({partition: 0}, WAIT)) for _ in range(3)]

    assert found == [{partition: [0, 1]}] * 3


async def test_a_partition_is_left_out_while_it_is_not_wanted(
    kafka: str, session: FetchSession
) -> None:
    one, other = await new_topic(kafka, [event(0)]), await new_topic(kafka, [event(0)])
    wanted = [{one: 0, other: 0}, {one: 0}, {one: 0, other: 0}]

    found = [set(await session.fetch(each, WAIT)) for each in wanted]

    assert found == [{one, other}, {one}, {one, other}]


async def test_a_session_that_kafka_has_forgotten_is_begun_anew(
    kafka: str, session: FetchSession
) -> None:
    partition = await new_topic(kafka, [event(0)])
    await session.fetch({partition: 0}, WAIT)
    session._id += 1

    assert await session.fetch({partition: 0}, WAIT) == {}
    assert offsets(await session.fetch({partition: 0}, WAIT)) == {partition: [0]}


async def test_a_fetch_whose_answer_nobody_waited_for_costs_nothing(
    kafka: str, session: FetchSession
) -> None:
    partition = await new_topic(kafka, [event(0)])
    await session.fetch({partition: 0}, WAIT)
    abandoned = asyncio.create_task(session.fetch({partition: 1}, WAIT))
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.wait([abandoned])
    await write(kafka, partition, [event(1)])

    assert offsets(await session.fetch({partition: 1}, WAIT)) == {partition: [1]}


async def test_what_was_removed_is_passed_over(kafka: str, session: FetchSession) -> None:
    partition = await new_topic(kafka, [event(number) for number in range(3)])
    await remove(kafka, partition, 2)

    found = await session.fetch({partition: 0}, WAIT)

    assert found == {partition: Fetched(asked=0, begins=2, batches=b"")}
    assert offsets(await session.fetch({partition: 2}, WAIT)) == {partition: [2]}


async def test_a_partition_that_is_not_there_keeps_nothing_from_others(
    kafka: str, session: FetchSession
) -> None:
    partition = await new_topic(kafka, [event(0)])
    missing = TopicPartition(partition.topic, 1)

    found = await session.fetch({partition: 0, missing: 0}, WAIT)

    assert offsets(found) == {partition: [0]}
    assert isinstance(found[missing].error, UnknownTopicOrPartitionError)
