"""Writes to Kafka what the mesh itself never would, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as Builder

from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import NO_NOTES, Record, encode
from broker.event import Event

NOT_UTF8 = b"caf\xe9".decode(errors="surrogateescape")


class Name(str):
    """A header's name that goes out as the bytes that ``surrogateescape`` made it of."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode(encoding, "surrogateescape")


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


def event(number: int, type: str = "order", data: bytes = b"x") -> Record:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/", "type": type}
    return encode(Event(attributes, data), NO_NOTES)


def misnamed(value: bytes = b"?") -> Record:
    """Return a record with a header whose name is not UTF-8."""
    return Record(key=None, value=value, headers=[(NOT_UTF8, b"1")])


async def new_topic(
    address: str, *batches: Sequence[Record], compression: str = "none"
) -> TopicPartition:
    """Return the partition of a new topic, with these batches in it."""
    topic = f"contract-{uuid4()}"
    await ensure_topic(options(address), topic, partitions=1, replication_factor=1, config={})
    partition = TopicPartition(topic, 0)
    await write(address, partition, *batches, compression=compression)
    return partition


async def write(
    address: str, partition: TopicPartition, *batches: Sequence[Record], compression: str = "none"
) -> None:
    number = ("none", "gzip", "snappy", "lz4", "zstd").index(compression)
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for records in batches:
            batch = producer.create_batch()
            # The builder that is compiled takes no name but a text.
            batch._builder = Builder(2, number, 0, -1, -1, 0, 64 << 20)
            for each in records:
                headers = [(Name(name), value) for name, value in each.headers]
                batch.append(timestamp=None, key=each.key, value=each.value, headers=headers)
            sent = await producer.send_batch(batch, partition.topic, partition=partition.partition)
            await sent


async def remove(address: str, partition: TopicPartition, before: int) -> None:
    """Remove the records before this offset, as the retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=before)})
    await admin.close()
