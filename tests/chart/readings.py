"""What KEDA would read of a channel, by the `metadata` of a ScaledObject's trigger."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from http.client import HTTPConnection
from urllib.parse import quote_plus, urlsplit

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

Metadata = Mapping[str, str]


async def lag(metadata: Metadata) -> int:
    """Return how far the consumer group is behind: 1 for a partition where it never was.

    That is in the topic, or in all that it has been in, if the metadata name none.
    """
    servers = metadata["bootstrapServers"]
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await admin.start()
    try:
        await consumer.start()
        committed = await _committed(admin, metadata["consumerGroup"])
        topics = [metadata["topic"]] if "topic" in metadata else {each.topic for each in committed}
        # Asked for no topic, it tells of all that there are, as it does to KEDA.
        partitions = [
            TopicPartition(topic["topic"], each["partition"])
            for topic in await admin.describe_topics([*topics])
            for each in topic["partitions"]
        ]
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
        await admin.close()
    return sum(
        1 if each not in committed else ends[each] - committed[each].offset for each in partitions
    )


async def _committed(
    admin: AIOKafkaAdminClient, group: str
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    while True:
        try:
            found: Mapping[TopicPartition, OffsetAndMetadata]
            found = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # a new server: nobody has asked for one before
            await asyncio.sleep(0.1)
        else:
            return found


class _Queue(msgspec.Struct, kw_only=True):
    messages: int = 0
    messages_ready: int = 0


class _Page(msgspec.Struct, kw_only=True):
    items: list[_Queue]
    page_count: int


def messages(metadata: Metadata, user: str, password: str) -> int:
    """Return how many messages there are in all queues of the pattern, which fit on one page."""
    assert metadata["protocol"] == "http"
    assert metadata["useRegex"] == "true"
    assert metadata["operation"] == "sum"
    vhost, pattern = quote_plus(metadata["vhostName"]), quote_plus(metadata["queueName"])
    query = f"page=1&use_regex=true&pagination=false&name={pattern}"
    size = metadata["pageSize"]
    answer = _get(metadata["host"], f"/api/queues/{vhost}?{query}&page_size={size}", user, password)
    page = msgspec.json.decode(answer, type=_Page)
    assert page.page_count <= 1
    ready = metadata["excludeUnacknowledged"] == "true"
    return sum(each.messages_ready if ready else each.messages for each in page.items)


def _get(address: str, target: str, user: str, password: str) -> bytes:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        connection.request("GET", target, headers={"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == 200, body
    return body
