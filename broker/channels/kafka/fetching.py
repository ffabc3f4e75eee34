"""Single records of a topic of one partition, by their offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from broker.channels.kafka.compacted import (
    PATIENCE,
    Read,
    close_consumer,
    open_consumer,
    unavailable,
)
from broker.channels.kafka.settings import ClientOptions

_FETCH_BYTES: Final = 256 << 10
_NEAR: Final = 200  # offsets that are sooner read through than jumped over


class Fetching:
    """Connects when it is first asked; nothing is fetched while nobody asks."""

    def __init__(self, topic: str, options: ClientOptions) -> None:
        self._options = options
        self._partition = TopicPartition(topic, 0)
        self._reader: AIOKafkaConsumer | None = None
        self._turn = asyncio.Lock()

    async def records(self, offsets: Sequence[int]) -> Sequence[Read]:
        """Return the records at these ascending offsets, those that are there (any more).

        Raises `ChannelUnavailable`.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(PATIENCE.total_seconds()) as patience:
                    reader = self._reader or await self._open()
                    reader.resume(self._partition)
                    found = await self._read(reader, offsets, patience)
                    reader.pause(self._partition)
            except (KafkaError, TimeoutError) as error:
                await self.close()
                raise unavailable(self._partition.topic, self._options, error) from error
            except BaseException:
                await self.close()
                raise
        return found

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await close_consumer(reader)

    async def _read(
        self, reader: AIOKafkaConsumer, offsets: Sequence[int], patience: asyncio.Timeout
    ) -> Sequence[Read]:
        found: list[Read] = []
        record: Read | None = None
        for offset in offsets:
            if record is None or offset > record.offset + _NEAR:
                reader.seek(self._partition, offset)
                record = None
            while record is None or record.offset < offset:
                record = await reader.getone(self._partition)
                # A page may take long, as long as it comes.
                loop = asyncio.get_running_loop()
                patience.reschedule(loop.time() + PATIENCE.total_seconds())
            if record.offset == offset:
                found.append(record)
        return found

    async def _open(self) -> AIOKafkaConsumer:
        # Whatever is on its way has to arrive before the next can be asked for.
        wait = timedelta(milliseconds=5)
        reader = await open_consumer(self._options, fetch_bytes=_FETCH_BYTES, wait=wait)
        reader.assign([self._partition])
        self._reader = reader
        return reader
