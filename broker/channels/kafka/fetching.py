"""Single records of a topic of one partition, by their offsets."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import TopicPartition

from broker.channels.kafka.compacted import Read
from broker.channels.kafka.logs import Logs
from broker.channels.kafka.settings import ClientOptions


class Fetching:
    """Connects when it is first asked; nothing is fetched while nobody asks."""

    def __init__(self, topic: str, options: ClientOptions) -> None:
        self._logs = Logs(options)
        self._partition = TopicPartition(topic, 0)

    async def records(self, offsets: Sequence[int]) -> Sequence[Read]:
        """Return the records at these ascending offsets, those that are there (any more).

        Raises `ChannelUnavailable`.
        """
        return await self._logs.records_at(self._partition, offsets)

    async def close(self) -> None:
        await self._logs.close()
