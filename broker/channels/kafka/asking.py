"""What is asked of a partition's leader, by requests of our own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    LeaderNotAvailableError,
    NoError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from broker.channels.kafka.batches import records_in
from broker.channels.kafka.compacted import Read

# Of small records, so many take 7 ms to be taken apart, and nothing else runs meanwhile; 4 MiB at
# a time would read 50,000 of 1 KiB in 1.65 s instead of 1.9.
_FETCH_BYTES: Final = 256 << 10

READ_UNCOMMITTED: Final = 0
"""As aiokafka's consumers: Kafka hands out records of transactions that are not committed."""

_EARLIEST: Final = -2
_LATEST: Final = -1


async def fetch(
    client: AIOKafkaClient, partition: TopicPartition, offset: int, wait: timedelta
) -> tuple[Sequence[Read], int, int]:
    """Return the records of the next batches, the offset behind them, and where the log ends.

    The offset is the same if there are no batches, nor come any within ``wait``; and if it lies
    outside of the log, it is that of the log's beginning, or of its end. Raises `KafkaError`, and
    what `records_in` does.
    """
    leader = await _leader(client, partition)
    request = FetchRequest(
        max_wait_time=wait // timedelta(milliseconds=1),
        min_bytes=1,
        max_bytes=_FETCH_BYTES,
        isolation_level=READ_UNCOMMITTED,
        topics=[(partition.topic, [(partition.partition, offset, _FETCH_BYTES)])],
    )
    answer = await client.send(leader, request)
    [(_, [(_, code, end, *_, batches)])] = answer.topics
    error = for_code(code)
    if error is OffsetOutOfRangeError:
        edge = await _edge(client, leader, partition, offset)
        return [], edge, edge
    if error is not NoError:
        raise error(partition)
    records, on = records_in(batches or b"", partition, offset)
    return records, on, end


async def _leader(client: AIOKafkaClient, partition: TopicPartition) -> int:
    leader: int | None = client.cluster.leader_for_partition(partition)
    if leader is None:
        client.add_topic(partition.topic)
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(partition)
    if leader is None:
        raise UnknownTopicOrPartitionError(partition)
    if leader < 0:
        raise LeaderNotAvailableError(partition)
    return leader


async def beginning(client: AIOKafkaClient, leader: int, partition: TopicPartition) -> int:
    """Return where the log begins. Raises `KafkaError`."""
    return await _limit(client, leader, partition, _EARLIEST)


async def _edge(client: AIOKafkaClient, leader: int, partition: TopicPartition, offset: int) -> int:
    """Return where the log begins, if that is behind the offset, or else where it ends.

    One that has grown up to the offset by now does not lead past it.
    """
    begins = await beginning(client, leader, partition)
    if begins > offset:
        return begins
    return min(offset, await _limit(client, leader, partition, _LATEST))


async def _limit(client: AIOKafkaClient, leader: int, partition: TopicPartition, which: int) -> int:
    topics = [(partition.topic, [(partition.partition, which)])]
    answer = await client.send(leader, OffsetRequest(-1, READ_UNCOMMITTED, topics))
    [(_, [(_, code, _, offset, *_)])] = answer.topics
    error = for_code(code)
    if error is not NoError:
        raise error(partition)
    limit: int = offset
    return limit
