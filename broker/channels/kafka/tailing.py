"""Follows what is appended to a broker's topic, by whichever process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import TopicPartition

from broker.channels.kafka.compacted import close_consumer, open_consumer
from broker.channels.kafka.entries import entry_of
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.settings import ClientOptions
from broker.channels.observers import Observers
from broker.errors import InvalidEvent
from broker.event import Event


class Tailing:
    def __init__(self, options: ClientOptions, topic: str, offsets: Offsets) -> None:
        self._options = options
        self._topic = topic
        self._offsets = offsets

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[Event]]:
        ends = await self._offsets.ends(self._topic)
        consumer = await open_consumer(self._options)
        observers = Observers()
        try:
            consumer.assign([TopicPartition(self._topic, number) for number in ends])
            for number, end in ends.items():
                consumer.seek(TopicPartition(self._topic, number), end)

            async def follow() -> None:
                async for record in consumer:
                    try:
                        entry = entry_of(
                            record.offset, record.timestamp, record.headers, record.value
                        )
                    except InvalidEvent:
                        continue
                    observers.show(entry.event)

            async with observers.follow() as seen, asyncio.TaskGroup() as tasks:
                task = tasks.create_task(follow())
                try:
                    yield seen
                finally:
                    task.cancel()
        finally:
            await close_consumer(consumer)
