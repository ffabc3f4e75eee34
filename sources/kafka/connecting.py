"""Consumers: started, committing and closed, whatever Kafka does, and what it has against them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from broker.connections import kafka

_STARTS_WITHIN: Final = 2.0
_STOPS_WITHIN: Final = 2.0


def said(error: BaseException) -> str:
    """Return in words what aiokafka or the network told, and where to look, if that is known."""
    if isinstance(error, GroupAuthorizationFailedError | TopicAuthorizationFailedError):
        return f"{error}; it takes ACLs that allow Read on the topics and on the group"
    return kafka.said(error)


async def start(consumer: AIOKafkaConsumer) -> None:
    """Start the consumer. Whoever cancels this waits for it, for up to 2 s.

    Cancelled while it asks for the servers, aiokafka forgets the connection that it asks by.
    """
    await kafka.ended(consumer.start(), grace=_STARTS_WITHIN)


async def commit(consumer: AIOKafkaConsumer, offsets: Mapping[Any, int]) -> None:
    """Commit. Whoever cancels this waits for it, for up to 2 s: what is emitted is not repeated."""
    await kafka.ended(consumer.commit(offsets), grace=_STOPS_WITHIN)


async def close(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close all connections, whatever the consumer and Kafka are doing.

    Of two of its own cancellations aiokafka loses sight: of that of its fetching, and then it
    waits for ever; and of that of a fetch that has just failed, and then it raises
    `CancelledError` though nobody has cancelled it, with its connections still open. And where
    Kafka hangs, it waits for an answer to its leaving, for as long as for any other.
    """
    stopping = asyncio.create_task(consumer.stop())
    try:
        while not (await asyncio.wait([stopping], timeout=_STOPS_WITHIN))[0]:
            if consumer._fetcher is not None:
                consumer._fetcher._fetch_task.cancel()
            await consumer._client.close()  # which fails whatever it is still asking
    except asyncio.CancelledError:
        stopping.cancel()
        await asyncio.wait([stopping])
        await consumer._client.close()
        raise
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()
